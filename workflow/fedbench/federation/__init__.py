"""Federated learning: the client app, the strategies, the grids they run on and the virtual clock."""

import os

# Flower reads it when it is first imported, which is after this.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
