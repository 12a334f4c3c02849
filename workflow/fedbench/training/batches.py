"""Length-bucketed mini-batches, reproducible from (seed, client, epoch) and resumable at any batch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from fedbench.training.examples import IGNORED, Examples

BUCKET = 16  # batches sorted together by length: keeps padding low and the order random


def epoch_batches(lengths: list[int], size: int, seed: tuple[int, ...]) -> list[list[int]]:
    """Return one epoch as lists of row positions: shuffled, sorted by length within buckets, shuffled again."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(lengths))
    batches: list[list[int]] = []
    for start in range(0, len(order), size * BUCKET):
        bucket = sorted(order[start : start + size * BUCKET], key=lambda i: lengths[i])
        batches += [[int(i) for i in bucket[k : k + size]] for k in range(0, len(bucket), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def stream(examples: Examples, size: int, seed: tuple[int, ...], start: int, count: int) -> Iterator[list[int]]:
    """Yield `count` batches of an endless sequence of epochs, from batch number `start` on."""
    lengths = [len(row) for row in examples.inputs]
    per_epoch = steps_per_epoch(len(examples), size)
    batches: list[list[int]] = []
    current = -1
    for step in range(start, start + count):
        epoch, offset = divmod(step, per_epoch)
        if epoch != current:
            batches, current = epoch_batches(lengths, size, (*seed, epoch)), epoch
        yield batches[offset]


def groups(
    examples: Examples, size: int, seed: tuple[int, ...], start: int, count: int, together: int
) -> Iterator[list[list[int]]]:
    """Yield the batches of `stream` in groups of `together`, one an optimiser step; none reaches into another epoch."""
    per_epoch = steps_per_epoch(len(examples), size)
    group: list[list[int]] = []
    for number, rows in enumerate(stream(examples, size, seed, start, count), start + 1):
        group.append(rows)
        if len(group) == together or number % per_epoch == 0 or number == start + count:
            yield group
            group = []


def shares(examples: Examples, group: list[list[int]], class_weights: torch.Tensor | None = None) -> list[float]:
    """Return what part of their common mean loss each batch of an optimiser step makes up; they sum to 1.

    A mean over classes counts rows (by their weights), one over responses their tokens.
    """
    if len(group) == 1:
        return [1.0]
    weights = None if class_weights is None else class_weights.tolist()

    def mass(row: int) -> float:
        target = examples.targets[row]
        if isinstance(target, list):
            return sum(token != IGNORED for token in target)
        return weights[target] if weights else 1.0

    masses = [sum(mass(row) for row in rows) for rows in group]
    return [value / sum(masses) for value in masses]


def steps_per_epoch(examples: int, size: int) -> int:
    """Return the number of batches of one pass over the data."""
    return -(-examples // size)


def collate(
    examples: Examples, rows: list[int], pad: int, device: torch.device, *, left: bool = False
) -> dict[str, Any]:
    """Pad rows to the longest of the batch: input_ids, attention_mask and labels, each (batch, length) or (batch,).

    Rows that are learnt from a teacher also bring `taught`, its logits (batch, classes).
    """
    inputs = [examples.inputs[i] for i in rows]
    longest = max(len(row) for row in inputs)

    def padded(row: list[int], value: int) -> list[int]:
        padding = [value] * (longest - len(row))
        return padding + row if left else row + padding

    ids = torch.tensor([padded(row, pad) for row in inputs])
    mask = torch.tensor([padded([1] * len(row), 0) for row in inputs])
    targets: list[Any] = [examples.targets[i] for i in rows]
    if isinstance(targets[0], list):
        targets = [padded(row, IGNORED) for row in targets]
    batch = {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor(targets)}
    if examples.taught is not None:
        batch["taught"] = torch.from_numpy(examples.taught[rows])
    return {name: value.to(device) for name, value in batch.items()}
