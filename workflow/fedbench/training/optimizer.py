"""The optimisers that a configuration may name, and their state as arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from fedbench.errors import FedbenchError
from fedbench.spec import TrainingSpec


def fresh(spec: TrainingSpec, parameters: Mapping[str, torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Return an optimiser without state.

    Raises:
        FedbenchError: it needs a CUDA device and the parameters are not on one.
    """
    options: dict[str, Any] = {"lr": spec.learning_rate, "weight_decay": spec.weight_decay}
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(parameters.values(), **options)
    if any(parameter.device.type != "cuda" for parameter in parameters.values()):
        raise FedbenchError(
            f"training.optimizer {spec.optimizer} needs a CUDA device, and there is none here",
            remedy="Set training.optimizer to adamw, or run on a machine with a GPU.",
        )
    from bitsandbytes.optim import PagedAdamW8bit

    paged: torch.optim.Optimizer = PagedAdamW8bit(parameters.values(), **options)
    return paged


def to_arrays(optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, np.ndarray]:
    """Return the state by `<entry>|<parameter>`."""
    return {
        f"{key}|{name}": _array(value)
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def put(
    arrays: Mapping[str, np.ndarray], optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter]
) -> None:
    """Put back what `to_arrays` returned."""
    for label, value in arrays.items():
        key, name = label.split("|", 1)
        parameter = parameters[name]
        entry: Any = torch.from_numpy(np.array(value))
        if value.ndim:
            entry = entry.to(parameter.device)
        elif value.dtype.kind != "f":  # AdamW counts steps in a tensor on the processor, bitsandbytes in a number
            entry = value.item()
        optimizer.state[parameter][key] = entry


def _array(value: Any) -> np.ndarray:
    return np.array(value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value)
