"""What a finished run is good for: chat with it, label one's own flows with it, export its model."""
