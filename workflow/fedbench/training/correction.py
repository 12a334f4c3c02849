"""A correction beside the base model: what averaged LoRA factors cannot hold, added to the output of their layers.

A correction travels with the adapter, in the same dictionary of arrays: `<module>.correction.matrix` (out, in), or as
`<module>.correction.up` (out, k) and `.correction.down` (k, in) whose product it is. Like the product of the factors it
is multiplied by the adapter's scale, alpha / r.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # strategies use what is below without torch: the engine reads their options before any job
    import torch
    from torch import nn

Arrays = dict[str, np.ndarray]
MARK = ".correction."


def split(arrays: Arrays) -> tuple[Arrays, Arrays]:
    """Return (what is trained, the correction) of named arrays."""
    return (
        {name: value for name, value in arrays.items() if MARK not in name},
        {name: value for name, value in arrays.items() if MARK in name},
    )


class Correction:
    """Adds a correction to the adapted layers of a PEFT model; nothing until one is put."""

    def __init__(self, model: "nn.Module", place: "torch.device", dtype: "torch.dtype") -> None:
        self._model, self._place, self._dtype = model, place, dtype
        self._hooks: list[Any] = []
        self.arrays: Arrays = {}

    def put(self, arrays: Arrays) -> None:
        """Replace the correction by `arrays`, which may be empty."""
        import torch

        for hook in self._hooks:
            hook.remove()
        self._hooks, self.arrays = [], arrays
        for module in sorted({name.split(MARK)[0] for name in arrays}):
            parts = [
                torch.from_numpy(np.ascontiguousarray(arrays[name])).to(self._place, self._dtype)
                for part in ("matrix", "down", "up")
                if (name := f"{module}{MARK}{part}") in arrays
            ]
            layer = self._model.get_submodule(module)
            self._hooks.append(layer.register_forward_hook(_added(parts, float(layer.scaling["default"]))))  # type: ignore[index]


def _added(parts: "list[torch.Tensor]", scale: float) -> Any:
    from torch.nn.functional import linear

    def hook(_: "nn.Module", inputs: "tuple[torch.Tensor, ...]", output: "torch.Tensor") -> "torch.Tensor":
        value = inputs[0].to(parts[0].dtype)
        for part in parts:
            value = linear(value, part)
        return output + (scale * value).to(output.dtype)

    return hook
