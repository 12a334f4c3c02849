"""Flower's deployment on loopback: a SuperLink and SuperNodes over TLS, with keys that live as long as the run."""
