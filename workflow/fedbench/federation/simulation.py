"""A federated run on the in-process grid: rounds, cohorts, history, virtual clock and a checkpoint a round."""

import json
import logging
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

from fedbench.federation import strategies
from fedbench.federation.client import Resident, client_app, finite, to_numpy, to_record
from fedbench.federation.clock import Clock
from fedbench.federation.grid import FIRST_NODE, Exchange, InProcessGrid
from fedbench.federation.strategies import Population
from fedbench.spec import RunSpec
from fedbench.training.checkpoint import Checkpoint
from fedbench.training.loop import Arrays

LOG = logging.getLogger(__name__)

Evaluate = Callable[[Arrays], tuple[float, float]]


@dataclass
class Outcome:
    """What a federated run leaves.

    Attributes:
        arrays: the final global adapter.
        clients: client -> its own last local adapter (only clients that ever trained).
        history: rows of history.parquet.
        note: what a reader must know, e.g. an upload pool that never reached its quorum again.
    """

    arrays: Arrays
    clients: dict[int, Arrays]
    history: list[dict[str, Any]]
    clock: Clock
    bytes_up: int = 0
    bytes_down: int = 0
    rounds: int = 0
    train_seconds: float = 0.0
    tokens: int = 0
    padding: int = 0
    note: str = ""


@dataclass
class _Totals:
    bytes_up: int = 0
    bytes_down: int = 0
    train_seconds: float = 0.0
    tokens: int = 0
    padding: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def add(self, exchange: Exchange) -> None:
        self.bytes_up += exchange.bytes_up
        self.bytes_down += exchange.bytes_down
        self.train_seconds += float(exchange.metrics["seconds"])
        self.tokens += int(exchange.metrics["tokens"])
        self.padding += int(exchange.metrics["padding"])


def simulate(
    run: RunSpec,
    resident: Resident,
    initial: Arrays,
    evaluate: Evaluate,
    checkpoint: Checkpoint,
    on_round: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Run a strategy from `initial` for its rounds (or ticks), going on from the checkpoint if there is one.

    Args:
        evaluate: arrays -> (loss, accuracy) on the server's validation set; called for every new global version.
        on_round: called with (round, rounds) after each.
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)  # its round chatter says less than our history
    assert run.strategy is not None
    assert run.federation is not None
    assert run.client_tier is not None
    population = Population(run.clients, [resident.local_steps(c) for c in range(run.clients)])
    strategy = strategies.build(run.strategy, run.federation, population)
    rounds = strategies.rounds(run.strategy, run.federation, population)
    grid = InProcessGrid(client_app(resident, strategies.mods(run.strategy)), run.clients)
    clock, totals, arrays, first = Clock(run.client_tier), _Totals(), initial, 1
    stored = checkpoint.load()
    if stored:
        arrays, first = _restore(stored, strategy, grid, clock, totals)
        LOG.info("going on at round %d of %d", first, rounds)
    else:
        loss, accuracy = evaluate(arrays)
        totals.history.append(_row(0, -1, "validation", loss=loss, accuracy=accuracy))
    for number in range(first, rounds + 1):
        arrays = _round(number, run.seed, strategy, grid, arrays, clock, totals, evaluate)
        checkpoint.save(*_state(number, arrays, strategy, grid, clock, totals))
        if on_round:
            on_round(number, rounds)
    local = {n - FIRST_NODE: to_numpy(c.state["local"]) for n, c in grid.contexts.items() if "local" in c.state}
    pooled = len(getattr(strategy, "pool", ()))
    return Outcome(
        arrays=arrays,
        clients=local,
        history=totals.history,
        clock=clock,
        bytes_up=totals.bytes_up,
        bytes_down=totals.bytes_down,
        rounds=rounds,
        train_seconds=totals.train_seconds,
        tokens=totals.tokens,
        padding=totals.padding,
        note=f"{pooled} pooled updates did not reach the quorum before the end and are in no version" if pooled else "",
    )


def _round(
    number: int,
    seed: int,
    strategy: Any,
    grid: InProcessGrid,
    arrays: Arrays,
    clock: Clock,
    totals: _Totals,
    evaluate: Evaluate,
) -> Arrays:
    """Run one server step and return the global adapter after it."""
    # Flower samples cohorts with the global generator: seed it by experiment and round, so that two seeds see other
    # cohorts and a resumed run sees the same.
    random.seed(f"cohort-{seed}-{number}")
    begun, before = time.perf_counter(), len(grid.exchanges)
    messages = strategy.configure_train(number, to_record(arrays), ConfigRecord(), grid)
    replies = grid.send_and_receive(messages)
    new, metrics = strategy.aggregate_train(number, replies)
    durations, uploaded = {}, set()
    for exchange in grid.exchanges[before:]:
        totals.add(exchange)
        seconds = float(exchange.metrics["seconds"])
        durations[exchange.client] = clock.client_seconds(seconds, exchange.bytes_down, exchange.bytes_up)
        if exchange.metrics.get("uploaded", 1):
            uploaded.add(exchange.client)
        totals.history += _client_rows(number, exchange, clock.now + durations[exchange.client])
    clock.step(durations, uploaded, new is not None)
    server: dict[str, Any] = {k: v for k, v in (metrics or {}).items() if not k.startswith("norm/")}
    loss, accuracy = (None, None)
    if new is not None:
        arrays = to_numpy(new)
        loss, accuracy = evaluate(arrays)
    totals.history.append(
        _row(
            number,
            -1,
            "validation" if new is not None else "server",
            loss=loss,
            accuracy=accuracy,
            seconds=time.perf_counter() - begun,
            virtual_seconds=clock.now,
            metrics=json.dumps(server),
        )
    )
    return arrays


def _client_rows(number: int, exchange: Exchange, now: float) -> list[dict[str, Any]]:
    metrics = exchange.metrics
    rows = [
        _row(
            number,
            exchange.client,
            "train",
            loss=float(metrics["loss"]),
            examples=int(metrics["num-examples"]),
            seconds=float(metrics["seconds"]),
            bytes_up=exchange.bytes_up,
            bytes_down=exchange.bytes_down,
            uploaded=bool(metrics.get("uploaded", 1)),
            trigger=exchange.trigger,
            virtual_seconds=now,
            metrics=json.dumps({k: v for k, v in metrics.items() if k.startswith("norm/")}),
        )
    ]
    if "validation-loss" in metrics:
        loss, accuracy = float(metrics["validation-loss"]), float(metrics["validation-accuracy"])
        rows.append(_row(number, exchange.client, "validation", loss=loss, accuracy=accuracy))
    return rows


def _row(step: int, client: int, phase: str, **values: Any) -> dict[str, Any]:
    checked = {k: finite(v) if isinstance(v, float) else v for k, v in values.items()}
    return {"step": step, "round": step, "client": client, "phase": phase, **checked}


def _state(
    number: int, arrays: Arrays, strategy: Any, grid: InProcessGrid, clock: Clock, totals: _Totals
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    facts = {
        "round": number,
        "totals": asdict(totals),
        "clock": {"now": clock.now, "versions": clock.versions, "waits": clock.waits, "pending": clock.pending},
    }
    parts = {f"global/{name}": value for name, value in arrays.items()}
    if hasattr(strategy, "state"):
        parts |= {f"strategy/{name}": value for name, value in strategy.state().items()}
    for node, context in grid.contexts.items():
        message = recorddict_to_proto(context.state).SerializeToString()
        parts[f"client/{node}"] = np.frombuffer(message, dtype=np.uint8)
    return facts, parts


def _restore(
    stored: tuple[dict[str, Any], dict[str, np.ndarray]],
    strategy: Any,
    grid: InProcessGrid,
    clock: Clock,
    totals: _Totals,
) -> tuple[Arrays, int]:
    facts, parts = stored

    def under(prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): value for name, value in parts.items() if name.startswith(prefix)}

    for name, value in facts["totals"].items():
        setattr(totals, name, value)
    clock.now, clock.versions, clock.waits = facts["clock"]["now"], facts["clock"]["versions"], facts["clock"]["waits"]
    clock.pending = {int(client): start for client, start in facts["clock"]["pending"].items()}
    if hasattr(strategy, "restore"):
        strategy.restore(under("strategy/"))
    for node, value in under("client/").items():
        state: RecordDict = recorddict_from_proto(ProtoRecordDict.FromString(value.tobytes()))
        grid.contexts[int(node)].state = state
    return under("global/"), int(facts["round"]) + 1
