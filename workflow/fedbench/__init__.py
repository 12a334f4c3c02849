"""fedbench: a benchmark of federated fine-tuning of language models on IoT data."""

__version__ = "0.1.0"
