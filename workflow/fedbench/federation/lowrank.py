"""Sums of low-rank products: what is lost when LoRA factors are averaged apart, and what keeps it.

The mean of products, sum p_i B_i A_i, has a rank up to the sum of the clients' ranks; mean(B) mean(A) has one client's.
Nothing here forms a full matrix unless that is the smaller way to write a correction down.
"""

from collections.abc import Sequence

import numpy as np

from fedbench.federation.arrays import Arrays, weighted_mean
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


def averaging_bias(
    adapters: Sequence[Arrays], weights: Sequence[float], base: Arrays | None = None, mean: Arrays | None = None
) -> float | None:
    """Return |mean(BA) - mean(B) mean(A)| / |mean(BA)| over all modules together; None where there are no factors.

    What is missed is sum p_i (B_i - mean(B)) (A_i - mean(A)), so that it keeps its digits where it is small, and every
    norm follows from the Gram matrices of these factors and the means: one of each a module, in float32.

    Args:
        adapters: the clients' adapters, of one rank.
        weights: their shares p_i, which sum to one.
        base: what the adapters are differences to, if they are.
        mean: the weighted mean of `adapters`, if it is known.
    """
    mean = weighted_mean(adapters, weights) if mean is None else mean
    missed, whole, count = 0.0, 0.0, len(adapters)
    held: dict[tuple[tuple[int, ...], tuple[int, ...]], Factors] = {}  # written over module by module
    for a, b in pairs(list(mean)).values():
        (rank, inner), (outer, _) = mean[a].shape, mean[b].shape
        if (mean[a].shape, mean[b].shape) not in held:
            ups, downs = np.empty((outer, count + 1, rank), np.float32), np.empty((count + 1, rank, inner), np.float32)
            held[mean[a].shape, mean[b].shape] = ups, downs
        ups, downs = held[mean[a].shape, mean[b].shape]
        for k, adapter in enumerate(adapters):
            np.subtract(adapter[b], mean[b], out=ups[:, k])
            np.subtract(adapter[a], mean[a], out=downs[k])
        ups[:, count] = mean[b] if base is None else base[b] + mean[b]
        downs[count] = mean[a] if base is None else base[a] + mean[a]
        up, down = ups.reshape(outer, -1), downs.reshape(-1, inner)
        shares = np.repeat([*weights, 1.0], rank)
        products = (up.T @ up).astype(np.float64) * (down @ down.T) * np.outer(shares, shares)
        missed += float(products[: count * rank, : count * rank].sum())
        whole += float(products.sum())
    return float(np.sqrt(max(0.0, missed) / whole)) if whole > 0 else None


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
