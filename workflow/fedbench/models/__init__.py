"""Base models: where their weights come from, what each architecture needs, and how they are loaded."""
