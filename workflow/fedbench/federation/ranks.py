"""Clients of different ranks: each receives, trains and uploads the first rows of A and columns of B that it can hold.

A factor whose row of A and column of B are both zero gets no gradient, so padding with zeros on the client is the same
as a smaller adapter (heterogeneous ranks of HetLoRA, Cho et al. 2024, without its pruning).
"""

from collections.abc import Callable, Sequence

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict

from fedbench.federation.arrays import Arrays, to_numpy, to_record
from fedbench.federation.lowrank import A, B


def narrowed(content: RecordDict, arrays: Arrays, rank: int) -> RecordDict:
    """Return the content of a train message with the first `rank` components of every factor."""
    cut = {name: _cut(name, value, rank) for name, value in arrays.items()}
    full = next((value.shape[0] for name, value in arrays.items() if A in name), rank)
    config = ConfigRecord({**content["config"], "full-rank": full})
    return RecordDict({**content, "arrays": to_record(cut), "config": config})


def mod(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
    """Client mod: widen what was received by zeros, and cut what goes up to the rank that came down."""
    full = int(message.content["config"].get("full-rank", 0))
    if not full:
        return call_next(message, context)
    received = to_numpy(message.content["arrays"])
    rank = next((value.shape[0] for name, value in received.items() if A in name), full)
    message.content["arrays"] = to_record({name: _padded(name, value, full) for name, value in received.items()})
    reply = call_next(message, context)
    if reply.has_content():
        trained = to_numpy(reply.content["arrays"])
        reply.content["arrays"] = to_record({name: _cut(name, value, rank) for name, value in trained.items()})
    return reply


def widen(reply: Message, like: Arrays) -> None:
    """Pad the update of a reply with zeros to the shapes of `like`."""
    full = next((value.shape[0] for name, value in like.items() if A in name), 0)
    update = to_numpy(reply.content["arrays"])
    reply.content["arrays"] = to_record({name: _padded(name, value, full) for name, value in update.items()})


def by_holders(mean: Arrays, held: Sequence[int | None], weights: Sequence[float]) -> Arrays:
    """Return the mean update, each component averaged over the clients that hold it instead of over all."""
    scaled = dict(mean)
    for name, value in mean.items():
        if A not in name and B not in name:
            continue
        rank = value.shape[0 if A in name else 1]
        share = np.zeros(rank)
        for weight, own in zip(weights, held, strict=True):
            share[:own] += weight
        share[share == 0] = 1.0
        scaled[name] = (value / (share[:, None] if A in name else share)).astype(value.dtype)
    return scaled


def _cut(name: str, value: np.ndarray, rank: int) -> np.ndarray:
    if A in name:
        return value[:rank]
    return value[:, :rank] if B in name else value


def _padded(name: str, value: np.ndarray, full: int) -> np.ndarray:
    if A in name:
        return np.pad(value, ((0, full - value.shape[0]), (0, 0)))
    return np.pad(value, ((0, 0), (0, full - value.shape[1]))) if B in name else value
