"""Federated learning: the client app, the strategies, the grids they run on and the virtual clock."""
