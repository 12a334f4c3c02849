"""Checkpoints beside the declared outputs: one safetensors file, written whole, keyed by the run's folder name."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fedbench.files import atomic

LOG = logging.getLogger(__name__)


class Checkpoint:
    """The newest state of one run.

    Args:
        path: the file; its folder is made when needed.
        key: the run's folder name; a checkpoint with another key is not used.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key

    def save(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Replace the checkpoint by JSON-able `facts` and `arrays`."""
        # safetensors knows no zero-dimensional views with strides: make everything contiguous.
        whole = {name: np.ascontiguousarray(value).reshape(np.shape(value)) for name, value in arrays.items()}
        with atomic(self.path) as partial:
            save_file(whole, partial, metadata={"key": self.key, "facts": json.dumps(facts)})

    def load(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Return (facts, arrays), or None if there is none to use; an unusable one is reported and removed."""
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="numpy") as stored:
                metadata = stored.metadata() or {}
                arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a mapping)
            if metadata.get("key") == self.key:
                facts: dict[str, Any] = json.loads(metadata["facts"])
                return facts, arrays
            reason = "it belongs to another run"
        except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
            reason = f"it is damaged ({error})"
        LOG.warning("%s: not used because %s; the run starts from its beginning", self.path, reason)
        self.path.unlink()
        return None

    def clear(self) -> None:
        """Remove the checkpoint of a finished run."""
        self.path.unlink(missing_ok=True)
