"""Sums of low-rank products: what is lost when LoRA factors are averaged apart, and what keeps it.

The mean of products, sum p_i B_i A_i, has a rank up to the sum of the clients' ranks; mean(B) mean(A) has one client's.
Nothing here forms a full matrix unless that is the smaller way to write a correction down.
"""

from collections.abc import Sequence

import numpy as np

from fedbench.federation.arrays import Arrays
from fedbench.training.correction import MARK

A, B = ".lora_A.", ".lora_B."
Factors = tuple[np.ndarray, np.ndarray]
"""(up, down) of shapes (out, k) and (k, in): their product is meant."""


def pairs(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return module -> (name of A, name of B) for the LoRA factors among parameter names."""
    known = set(names)
    found = {name.split(A)[0]: (name, name.replace(A, B)) for name in names if A in name}
    return {module: both for module, both in found.items() if both[1] in known}


def mean_product(adapters: Sequence[Arrays], weights: Sequence[float], both: tuple[str, str]) -> Factors:
    """Return sum_i p_i B_i A_i of one module as factors; the adapters may differ in rank."""
    a, b = both
    up = np.concatenate([p * adapter[b].astype(np.float64) for p, adapter in zip(weights, adapters, strict=True)], 1)
    return up, np.concatenate([adapter[a].astype(np.float64) for adapter in adapters])


def beyond(adapters: Sequence[Arrays], weights: Sequence[float], mean: Arrays, both: tuple[str, str]) -> Factors:
    """Return sum_i p_i B_i A_i - mean(B) mean(A) of one module as factors (FedEx-LoRA, Singhal et al. 2025)."""
    up, down = mean_product(adapters, weights, both)
    a, b = both
    return np.concatenate([up, -mean[b].astype(np.float64)], 1), np.concatenate([down, mean[a].astype(np.float64)])


def norm(factors: Factors) -> float:
    """Return the Frobenius norm of up @ down from the two Gram matrices."""
    up, down = factors
    return float(np.sqrt(max(0.0, float(np.sum((up.T @ up) * (down @ down.T))))))


def averaging_bias(adapters: Sequence[Arrays], weights: Sequence[float]) -> float | None:
    """Return |mean(BA) - mean(B) mean(A)| / |mean(BA)| over all modules together; None where there are no factors.

    Args:
        adapters: the clients' adapters (not differences), of one rank.
        weights: their shares p_i, which sum to one.
    """
    missed, whole = 0.0, 0.0
    for both in pairs(list(adapters[0])).values():
        mean = {name: _mean([adapter[name] for adapter in adapters], weights) for name in both}
        missed += norm(beyond(adapters, weights, mean, both)) ** 2
        whole += norm(mean_product(adapters, weights, both)) ** 2
    return float(np.sqrt(missed / whole)) if whole > 0 else None


def _mean(values: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    total = np.zeros(values[0].shape, dtype=np.float64)
    for value, weight in zip(values, weights, strict=True):
        total += weight * value
    return total


def accumulated(correction: Arrays, module: str, more: Factors) -> Arrays:
    """Return the correction of one module with `more` added, float32: as factors while a matrix is larger."""
    prefix = f"{module}{MARK}"
    up, down = more
    if f"{prefix}matrix" not in correction:
        if f"{prefix}up" in correction:
            up = np.concatenate([correction[f"{prefix}up"], up], 1)
            down = np.concatenate([correction[f"{prefix}down"], down])
        if up.shape[1] * (up.shape[0] + down.shape[1]) < up.shape[0] * down.shape[1]:
            return {f"{prefix}up": up.astype(np.float32), f"{prefix}down": down.astype(np.float32)}
        return {f"{prefix}matrix": (up @ down).astype(np.float32)}
    return {f"{prefix}matrix": (correction[f"{prefix}matrix"] + up @ down).astype(np.float32)}
