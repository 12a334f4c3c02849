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


def steps_per_epoch(examples: int, size: int) -> int:
    """Return the number of batches of one pass over the data."""
    return -(-examples // size)


def collate(examples: Examples, rows: list[int], pad: int, device: torch.device) -> dict[str, Any]:
    """Pad rows to the longest of the batch: input_ids, attention_mask and labels, each (batch, length) or (batch,)."""
    inputs = [examples.inputs[i] for i in rows]
    longest = max(len(row) for row in inputs)
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in inputs])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in inputs])
    targets: list[Any] = [examples.targets[i] for i in rows]
    if isinstance(targets[0], list):
        targets = [row + [IGNORED] * (longest - len(row)) for row in targets]
    batch = {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor(targets)}
    return {name: value.to(device) for name, value in batch.items()}
