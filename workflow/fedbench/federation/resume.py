"""The state of a federated run as a checkpoint: global adapter, strategy, privacy, clients, clock and totals."""

from dataclasses import asdict
from typing import Any

import numpy as np
from flwr.app import RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

from fedbench.federation.arrays import Arrays
from fedbench.federation.clock import Clock
from fedbench.federation.grid import InProcessGrid
from fedbench.federation.history import Totals
from fedbench.federation.privacy import PrivateMean


def save(
    number: int,
    arrays: Arrays,
    strategy: Any,
    private: PrivateMean | None,
    grid: InProcessGrid,
    clock: Clock,
    totals: Totals,
) -> tuple[dict[str, Any], Arrays]:
    """Return (facts, arrays) of the run after round `number`, for `Checkpoint.save`."""
    facts = {
        "round": number,
        "messages": grid.messages,
        "totals": asdict(totals),
        "clock": {"now": clock.now, "versions": clock.versions, "waits": clock.waits, "pending": clock.pending},
    }
    parts = {f"global/{name}": value for name, value in arrays.items()}
    if hasattr(strategy, "state"):
        parts |= {f"strategy/{name}": value for name, value in strategy.state().items()}
    if private is not None:
        parts |= {f"privacy/{name}": value for name, value in private.state().items()}
    for node, context in grid.contexts.items():
        message = recorddict_to_proto(context.state).SerializeToString()
        parts[f"client/{node}"] = np.frombuffer(message, dtype=np.uint8)
    return facts, parts


def restore(
    stored: tuple[dict[str, Any], Arrays],
    initial: Arrays,
    strategy: Any,
    private: PrivateMean | None,
    grid: InProcessGrid,
    clock: Clock,
    totals: Totals,
) -> tuple[Arrays, int]:
    """Put a stored state back; returns the global adapter and the next round."""
    facts, parts = stored

    def under(prefix: str) -> Arrays:
        return {name.removeprefix(prefix): value for name, value in parts.items() if name.startswith(prefix)}

    grid.messages = int(facts["messages"])
    for name, value in facts["totals"].items():
        setattr(totals, name, value)
    clock.now, clock.versions, clock.waits = facts["clock"]["now"], facts["clock"]["versions"], facts["clock"]["waits"]
    clock.pending = {int(client): start for client, start in facts["clock"]["pending"].items()}
    if hasattr(strategy, "restore"):
        strategy.restore(under("strategy/"))
    if private is not None:
        private.restore(under("privacy/"))
    for node, value in under("client/").items():
        state: RecordDict = recorddict_from_proto(ProtoRecordDict.FromString(value.tobytes()))
        grid.contexts[int(node)].state = state
    found = under("global/")
    # In the model's own order: a checkpoint sorts its arrays, and Flower's FedAvgM matches them by position.
    return {name: found[name] for name in [*initial, *sorted(found.keys() - initial.keys())]}, int(facts["round"]) + 1
