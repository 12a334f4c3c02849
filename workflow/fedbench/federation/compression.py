"""Compressed uploads: the largest entries alone, or one byte an entry; what is left out can wait for the next upload.

The reply of a client carries packed arrays in place of its update, so that the bytes on the wire are those of the
packed form, indices and scales included. The server unpacks before the strategy sees anything.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message
from flwr.common.serde import message_to_proto

from fedbench.errors import FedbenchError
from fedbench.federation.arrays import Arrays, added, difference, to_numpy, to_record
from fedbench.spec import CompressionSpec, LinkedTier
from fedbench.training.correction import split

Shapes = dict[str, tuple[int, ...]]
ENTRY_BYTES = 8  # of one sparse entry: an int32 index and a float32 value
LENGTH_BYTES = 64  # room for the length fields and the message number that the wire adds to an empty envelope


def pack(update: Arrays, spec: CompressionSpec, entries: int | None = None) -> Arrays:
    """Return the packed form of an update, its parameters taken in the order of their names.

    Args:
        entries: how many entries `topk` keeps, the largest of the whole update.

    Returns:
        topk: `indices` (int32, ascending) and `values` (float32), without `indices` where every entry is kept;
        int8: `levels` (int8) and `scales` (float32, one a parameter): entry = level x scale, off by scale / 2 at most.
    """
    vector = np.concatenate([update[name].ravel() for name in sorted(update)]).astype(np.float32)
    if spec.kind == "int8":
        tensors = [update[name].astype(np.float32) for name in sorted(update)]
        scales = np.array([np.abs(t).max(initial=0.0) / 127 for t in tensors], dtype=np.float32)
        steps = np.repeat(np.where(scales > 0, scales, 1), [t.size for t in tensors])
        # The scale is rounded to float32: the largest entry may come out a hair above 127.
        return {"levels": np.clip(np.rint(vector / steps), -127, 127).astype(np.int8), "scales": scales}
    if vector.size > np.iinfo(np.int32).max:
        raise FedbenchError("topk: more parameters than an int32 can index", remedy="Use int8, or adapters.")
    count = vector.size if entries is None else min(entries, vector.size)
    if count == vector.size:
        return {"values": vector}
    chosen = np.sort(np.argpartition(np.abs(vector), vector.size - count)[vector.size - count :])
    return {"indices": chosen.astype(np.int32), "values": vector[chosen]}


def unpack(packed: Arrays, shapes: Shapes) -> Arrays:
    """Return the update that `pack` packed, zero where nothing was sent."""
    sizes = [math.prod(shapes[name]) for name in sorted(shapes)]
    if "levels" in packed:
        vector = packed["levels"].astype(np.float32) * np.repeat(packed["scales"], sizes)
    elif "indices" in packed:
        vector = np.zeros(sum(sizes), dtype=np.float32)
        vector[packed["indices"]] = packed["values"]
    else:
        vector = packed["values"]
    parts = np.split(vector, np.cumsum(sizes)[:-1])
    return {name: part.reshape(shapes[name]) for name, part in zip(sorted(shapes), parts, strict=True)}


def mods(
    spec: CompressionSpec | None, tier_of: Callable[[int], LinkedTier], differences: bool
) -> list[Callable[..., Any]]:
    """Return the client mod of `spec`, to be put outside all others: it sees what would have gone up.

    Args:
        tier_of: client -> its tier, whose link decides what an adaptive upload may hold.
        differences: replies carry differences to the received parameters, not parameters.
    """
    if spec is None:
        return []

    def mod(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
        state = context.state
        received = to_numpy(message.content["arrays"]) if "arrays" in message.content else {}
        if received and "residual-next" in state:
            # A client that uploads twice on one version (GSFS) replaces its first update by one that holds it whole, so
            # what the first left out must not be added to the second: it counts from the next version on.
            state["residual"] = state.pop("residual-next")
        reply = call_next(message, context)
        if not reply.has_content() or not reply.content["arrays"]:
            return reply
        sent = to_numpy(reply.content["arrays"])
        update = sent if differences else difference(sent, received)
        residual = to_numpy(state["residual"]) if "residual" in state else {}
        wanted = {name: value + residual[name] if name in residual else value for name, value in update.items()}
        reply.content["arrays"] = ArrayRecord()
        known = sorted(state["local"])  # the names on both sides, where only some parameters go up
        if len(update) < len(known):
            reply.content["sent"] = ConfigRecord({"positions": [known.index(name) for name in sorted(update)]})
        tier = tier_of(int(context.node_config["partition-id"]))
        budget = None if spec.seconds is None else int(spec.seconds * tier.up_mbit * 1e6 / 8)
        packed = pack(wanted, spec, _entries(spec, sum(v.size for v in wanted.values()), budget, reply))
        reply.content["arrays"] = to_record(packed)
        if spec.error_feedback:
            arrived = unpack(packed, {name: value.shape for name, value in wanted.items()})
            state["residual-next"] = to_record({**residual, **difference(wanted, arrived)})
        return reply

    return [mod]


def decode(reply: Message, current: Arrays, differences: bool) -> None:
    """Put what the client wanted to say back into a reply: its parameters, or its difference to `current`."""
    record = reply.content["arrays"]
    if not record:
        return
    current, _ = split(current)
    names = sorted(current)
    if "sent" in reply.content:
        names = [names[position] for position in reply.content["sent"]["positions"]]
    update = unpack(to_numpy(record), {name: current[name].shape for name in names})
    reply.content["arrays"] = to_record(update if differences else added(current, update))


def _entries(spec: CompressionSpec, size: int, budget: int | None, reply: Message) -> int:
    """Return how many entries may go up: at most `keep` of them, at most what the link carries, at least one."""
    most = math.ceil(spec.keep * size - 1e-9)
    if budget is not None:
        empty = {"indices": np.zeros(0, np.int32), "values": np.zeros(0, np.float32)}
        reply.content["arrays"] = to_record(empty)
        envelope = message_to_proto(reply).ByteSize() + LENGTH_BYTES
        most = min(most, (budget - envelope) // ENTRY_BYTES)
    return max(1, most)
