"""A federated run on the in-process grid: rounds, cohorts, history, virtual clock and a checkpoint a round."""

import json
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ConfigRecord, Message

from fedbench.errors import FedbenchError
from fedbench.federation import compression, privacy, resume, secure, strategies
from fedbench.federation.arrays import Arrays, to_numpy, to_record
from fedbench.federation.client import Resident, client_app
from fedbench.federation.clock import Clock, step_seconds
from fedbench.federation.conditions import Conditions
from fedbench.federation.grid import FIRST_NODE, Exchange, InProcessGrid
from fedbench.federation.history import Totals, client_rows, merged, row
from fedbench.federation.strategies import Population
from fedbench.federation.strategies.hierarchical import GATEWAY
from fedbench.spec import RunSpec
from fedbench.training.checkpoint import Checkpoint

LOG = logging.getLogger(__name__)

Evaluate = Callable[[Arrays], tuple[float, float]]


@dataclass
class Outcome:
    """What a federated run leaves.

    Attributes:
        arrays: the final global adapter.
        clients: client -> its own last local adapter (only clients that ever trained).
        history: rows of history.parquet.
        bytes_cloud: bytes between gateways and cloud, both ways, where there are gateways.
        lost, failed: replies that never arrived; replies that carried an error.
        privacy: the guarantee and what it took, where there is one.
        note: what a reader must know, e.g. an upload pool that never reached its quorum again.
    """

    arrays: Arrays
    clients: dict[int, Arrays]
    history: list[dict[str, Any]]
    clock: Clock
    bytes_up: int = 0
    bytes_down: int = 0
    bytes_cloud: int = 0
    rounds: int = 0
    train_seconds: float = 0.0
    tokens: int = 0
    padding: int = 0
    lost: int = 0
    failed: int = 0
    privacy: dict[str, Any] | None = None
    note: str = ""


@dataclass
class Server:
    """What stands between the clients' replies and a new global version.

    Attributes:
        decode: restores the update of a compressed reply, given the parameters that were sent.
        private: the private mean that replaces the replies, if any.
        collect: sends messages and returns the masked sum of the replies as one, if the server may see no more.
        totals, clock: what is written down.
    """

    run: RunSpec
    strategy: Any
    grid: InProcessGrid
    clock: Clock
    conditions: Conditions
    evaluate: Evaluate
    decode: Callable[[Message, Arrays], None] | None = None
    private: privacy.PrivateMean | None = None
    collect: secure.Collector | None = None
    totals: Totals = field(default_factory=Totals)


def simulate(
    run: RunSpec,
    resident: Resident,
    initial: Arrays,
    evaluate: Evaluate,
    checkpoint: Checkpoint,
    on_round: Callable[[int, int], None] | None = None,
    *,
    grid: InProcessGrid | None = None,
) -> Outcome:
    """Run a strategy from `initial` for its rounds (or ticks), going on from the checkpoint if there is one.

    Args:
        evaluate: arrays -> (loss, accuracy) on the server's validation set; called for every new global version.
        on_round: called with (round, rounds) after each.
        grid: where the clients run, with the mods of `client_mods`; in this process if not given.

    Raises:
        FedbenchError: the run asks for another grid than it is given.
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)  # its round chatter says less than our history
    assert run.strategy is not None
    assert run.federation is not None
    population = strategies.population(run, [resident.local_steps(c) for c in range(run.clients)])
    rounds = strategies.rounds(run.strategy, run.federation, population)
    if grid is None:
        if run.federation.grid != "in-process":
            raise FedbenchError(f"federation.grid {run.federation.grid!r} is not the grid in this process")
        grid = InProcessGrid(client_app(resident, client_mods(run)), run.clients)
    server = _server(run, grid, population, evaluate)
    clock, totals = server.clock, server.totals
    state = (server.strategy, server.private, grid, clock, totals)
    arrays, first = initial, 1
    stored = checkpoint.load()
    if stored:
        arrays, first = resume.restore(stored, initial, *state)
        LOG.info("going on at round %d of %d", first, rounds)
    else:
        loss, accuracy = evaluate(arrays)
        _tell(server.strategy, loss)
        totals.history.append(row(0, -1, "validation", loss=loss, accuracy=accuracy))
    for number in range(first, rounds + 1):
        arrays = _round(number, server, arrays)
        checkpoint.save(*resume.save(number, arrays, *state))
        if on_round:
            on_round(number, rounds)
    local = {n - FIRST_NODE: to_numpy(c.state["local"]) for n, c in grid.contexts.items() if "local" in c.state}
    pooled = len(getattr(server.strategy, "pool", ()))
    return Outcome(
        arrays=arrays,
        clients=local,
        history=totals.history,
        clock=clock,
        bytes_up=totals.bytes_up,
        bytes_down=totals.bytes_down,
        bytes_cloud=totals.bytes_cloud,
        rounds=rounds,
        train_seconds=totals.train_seconds,
        tokens=totals.tokens,
        padding=totals.padding,
        lost=totals.lost,
        failed=totals.failed,
        privacy=server.private.report() if server.private else None,
        note=f"{pooled} pooled updates did not reach the quorum before the end and are in no version" if pooled else "",
    )


def client_mods(run: RunSpec) -> list[Callable[..., Any]]:
    """Return all client mods of a run, outermost first: what goes up is compressed last."""
    assert run.strategy is not None
    assert run.federation is not None
    spec, differences = run.strategy, strategies.differences(run.strategy)
    return [
        *secure.mods(spec.secure, run.seed),
        *compression.mods(spec.compression, run.tier_of, differences),
        *privacy.mods(spec.privacy, run.federation.clients_per_round, run.seed, differences),
        *strategies.mods(spec),
    ]


def _server(run: RunSpec, grid: InProcessGrid, population: Population, evaluate: Evaluate) -> Server:
    """Put the server's side of a run together."""
    assert run.strategy is not None
    assert run.federation is not None
    spec, cohort, differences = run.strategy, run.federation.clients_per_round, strategies.differences(run.strategy)
    server = Server(
        strategy=strategies.build(spec, run.federation, population),
        grid=grid,
        run=run,
        clock=Clock(),
        conditions=Conditions(run.federation, run.seed, run.clients),
        evaluate=evaluate,
    )
    if spec.compression:
        server.decode = lambda reply, current: compression.decode(reply, current, differences)
    if spec.secure:
        server.collect = secure.Collector(spec.secure, grid, server.conditions.lost)
    if spec.privacy:
        server.private = privacy.PrivateMean(spec.privacy, run.clients, cohort, run.seed, differences)
    return server


def _round(number: int, server: Server, arrays: Arrays) -> Arrays:
    """Run one server step and return the global adapter after it."""
    # Flower samples cohorts with the global generator: seed it by experiment and round, so that two seeds see other
    # cohorts and a resumed run sees the same.
    random.seed(f"cohort-{server.run.seed}-{number}")
    begun, before = time.perf_counter(), len(server.grid.exchanges)
    messages = server.strategy.configure_train(number, to_record(arrays), ConfigRecord(), server.grid)
    replies = (server.collect or server.grid.send_and_receive)(messages)
    exchanges = merged(server.grid.exchanges[before:])
    lost = {e.client for e in exchanges if e.error is None and server.conditions.lost(number, e.client)}
    new, metrics = _aggregated(number, server, arrays, replies, lost)
    _record_clients(number, server, exchanges, lost, new is not None)
    loss, accuracy = (None, None)
    if new is not None:
        arrays = new
        loss, accuracy = server.evaluate(arrays)
        _tell(server.strategy, loss)
    server.totals.history.append(
        row(
            number,
            -1,
            "validation" if new is not None else "server",
            loss=loss,
            accuracy=accuracy,
            seconds=time.perf_counter() - begun,
            virtual_seconds=server.clock.now,
            metrics=json.dumps(metrics),
        )
    )
    return arrays


def _tell(strategy: Any, loss: float) -> None:
    """Let a strategy that learns from it know the validation loss of a new global version."""
    if hasattr(strategy, "learn"):
        strategy.learn(loss)


def _aggregated(
    number: int, server: Server, arrays: Arrays, replies: Iterable[Message], lost: set[int]
) -> tuple[Arrays | None, dict[str, Any]]:
    """Return (the new global adapter or None, the server's metrics), from the replies that arrived."""
    arrived = [r for r in replies if r.has_content() and r.metadata.src_node_id - FIRST_NODE not in lost]
    if not arrived:
        return None, {}
    if server.decode:
        for reply in arrived:
            server.decode(reply, arrays)
    if server.private:
        arrived = server.private.release(number, arrays, arrived)
    new, reported = server.strategy.aggregate_train(number, arrived)
    metrics: dict[str, Any] = {k: v for k, v in (reported or {}).items() if not k.startswith("norm/")}
    if hasattr(server.strategy, "report"):
        metrics |= server.strategy.report()
    if server.private:
        metrics["epsilon"] = server.private.epsilon
    return (to_numpy(new) if new is not None else None), metrics


def _record_clients(number: int, server: Server, exchanges: list[Exchange], lost: set[int], new_version: bool) -> None:
    """Add a round's exchanges to the totals, the history and the virtual clock."""
    totals, clock = server.totals, server.clock
    durations, uploaded = {}, set()
    for exchange in exchanges:
        client = exchange.client
        totals.add(exchange)
        durations[client] = step_seconds(
            server.run.tier_of(client),
            float(exchange.metrics.get("seconds", 0.0)),
            exchange.bytes_down,
            exchange.bytes_up,
            server.conditions.slowness(number, client),
            server.conditions.spec.link,
        )
        rows = client_rows(number, exchange, clock.now + durations[client], lost=client in lost)
        totals.failed += exchange.error is not None
        totals.lost += client in lost
        if rows[0]["uploaded"]:
            uploaded.add(client)
        totals.history += rows
    clock.step(durations, uploaded, new_version, _to_the_cloud(server) if new_version else 0.0)


def _to_the_cloud(server: Server) -> float:
    """Count what gateways exchanged with the cloud for this version, and return the modelled seconds it took."""
    exchanged = server.strategy.exchanged() if hasattr(server.strategy, "exchanged") else None
    if exchanged is None:
        return 0.0
    gateways, size = exchanged
    server.totals.bytes_cloud += 2 * gateways * size
    return step_seconds(server.run.tiers[GATEWAY], 0.0, size, size)
