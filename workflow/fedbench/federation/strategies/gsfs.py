"""The Gradient Sensing Federated Strategy: clients upload on a trigger, the server pools to a quorum (GSFS III-B).

A server step is a tick: every client trains `local_steps` mini-batches on its own state, then decides whether to upload
(`fedbench.federation.sensing`). Parameters travel down only when there is a new global version.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from pydantic import Field

from fedbench.federation.sensing import Sensing, sense
from fedbench.federation.strategies import Population
from fedbench.federation.strategies.fedavg import cohort
from fedbench.spec import FederationSpec, Spec

DIFFERENCES = True
EVERY_ROUND = False


class Options(Spec):
    """Triggers and pool; the paper's defaults, or the choices named in each description."""

    local_steps: Annotated[
        int | None, Field(ge=1, description="mini-batches a tick; null: a whole local round (E epochs)")
    ] = 4
    quorum: Annotated[float, Field(gt=0, le=1, description="share of distinct clients that triggers aggregation")] = 0.6
    weights: Annotated[
        Literal["frequency", "samples", "uniform"], Field(description="a_i; frequency: uploads of i so far (eq. 14)")
    ] = "frequency"
    staleness: Annotated[
        float, Field(ge=0, description="s: a_i is discounted by (1 + ticks since the upload)^-s; 0: off")
    ] = 0.0
    payload: Annotated[
        Literal["full", "layers"], Field(description="layers: upload only the blocks whose gradient fired")
    ] = "full"
    performance_trigger: bool = True
    metric: Annotated[Literal["loss", "accuracy"], Field(description="M_i, on the client's validation set")] = "loss"
    performance_factor: Annotated[
        float, Field(description="c: delta_i is c times the running mean change of M_i; -inf fires always")
    ] = 1.0
    performance_floor: Annotated[float, Field(ge=0, description="smallest delta_i")] = 1e-3
    gradient_trigger: bool = True
    beta: Annotated[float, Field(gt=0, lt=1, description="smoothing of mean and deviation (eqs. 9-10)")] = 0.9
    gradient_lambda: Annotated[float, Field(description="lambda of eq. 11; -inf fires always")] = 1.0
    warm_up: Annotated[int, Field(ge=0, description="ticks in which the thresholds only fill")] = 2
    max_silence: Annotated[int, Field(ge=0, description="ticks after which a client uploads anyway; 0: never")] = 5


@dataclass
class Entry:
    """One client's newest pooled update."""

    arrays: dict[str, np.ndarray]
    examples: float
    tick: int
    version: int


class UploadPool(FedAvg):  # type: ignore[misc]
    """Server side: keep the newest update a client, aggregate when enough distinct clients are in (GSFS eqs. 12-15)."""

    def __init__(self, options: Options, **cohort_options: Any) -> None:
        super().__init__(**cohort_options)
        self.options = options
        self.pool: dict[int, Entry] = {}
        self.uploads: dict[int, int] = {}
        self.version = 0
        self.broadcast = -1  # version that the clients hold; nobody holds one before the first tick
        self.current: dict[str, np.ndarray] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every client for one tick; send parameters only if there is a version that the clients do not have."""
        self.current = {name: array.numpy() for name, array in arrays.items()}
        config["server-round"] = server_round
        config["version"] = self.version
        if self.options.local_steps:
            config["local-steps"] = self.options.local_steps
        config["keep-optimizer"] = True
        content = RecordDict({"config": config})
        if self.broadcast != self.version:
            content["arrays"] = arrays
            self.broadcast = self.version
        messages: Iterable[Message] = self._construct_messages(content, sorted(grid.get_node_ids()), MessageType.TRAIN)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Pool the uploads of this tick; return a new version once the quorum is reached, else None."""
        answered = [reply for reply in replies if reply.has_content()]
        for reply in answered:
            metrics = reply.content["metrics"]
            if not metrics["uploaded"]:
                continue
            client = reply.metadata.src_node_id
            self.uploads[client] = self.uploads.get(client, 0) + 1
            self.pool[client] = Entry(
                arrays={name: array.numpy() for name, array in reply.content["arrays"].items()},
                examples=float(metrics["num-examples"]),
                tick=server_round,
                version=self.version,
            )
        needed = self.quorum()
        metrics = MetricRecord({"pool": len(self.pool), "quorum": needed, "version": self.version})
        if len(self.pool) < needed:
            return None, metrics
        arrays = self._aggregated(server_round)
        self.pool = {}
        self.version += 1
        metrics["version"] = self.version
        return ArrayRecord({name: Array(value) for name, value in arrays.items()}), metrics

    def quorum(self) -> int:
        """Return ceil(quorum x N) distinct clients."""
        # The subtraction keeps 0.6 x 5 = 3.0000000000000004 from asking for a fourth client.
        return math.ceil(self.options.quorum * int(self.min_available_nodes) - 1e-9)

    def _aggregated(self, tick: int) -> dict[str, np.ndarray]:
        """Return w + sum_i a_i Delta_i / sum_i a_i, each parameter over the clients that sent it."""
        result = {}
        weights = {client: self._weight(client, entry, tick) for client, entry in sorted(self.pool.items())}
        for name, value in self.current.items():
            senders = [(a, self.pool[c].arrays[name]) for c, a in weights.items() if name in self.pool[c].arrays]
            total = sum(a for a, _ in senders)
            update = sum((a / total * difference for a, difference in senders), np.zeros_like(value))
            result[name] = (value + update).astype(value.dtype)
        return result

    def _weight(self, client: int, entry: Entry, tick: int) -> float:
        base = {"frequency": float(self.uploads[client]), "samples": entry.examples, "uniform": 1.0}
        return base[self.options.weights] / math.pow(1 + tick - entry.tick, self.options.staleness)

    def state(self) -> dict[str, np.ndarray]:
        """Return the pool and the counters as arrays, for a checkpoint."""
        facts = {
            "version": self.version,
            "broadcast": self.broadcast,
            "uploads": {str(c): n for c, n in self.uploads.items()},
            "pool": {str(c): [e.examples, e.tick, e.version] for c, e in self.pool.items()},
        }
        state = {f"pool/{c}/{name}": value for c, e in self.pool.items() for name, value in e.arrays.items()}
        return {"facts": np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8), **state}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take the pool and the counters back from a checkpoint."""
        facts = json.loads(state["facts"].tobytes())
        self.version, self.broadcast = facts["version"], facts["broadcast"]
        self.uploads = {int(c): n for c, n in facts["uploads"].items()}
        self.pool = {
            int(c): Entry(
                {k.split("/", 2)[2]: v for k, v in state.items() if k.startswith(f"pool/{c}/")}, examples, tick, version
            )
            for c, (examples, tick, version) in facts["pool"].items()
        }


def ticks(options: Options, federation: FederationSpec, population: Population) -> int:
    """Return the ticks in which a client of mean size does the local work of T rounds."""
    if options.local_steps is None:
        return federation.rounds
    mean_steps = sum(population.steps) / len(population.steps)
    return max(1, round(federation.rounds * mean_steps / options.local_steps))


def mods(options: Options) -> list[Callable[..., Any]]:
    """Return the client side: the sensing mod."""
    return [
        sense(
            Sensing(
                performance=options.performance_trigger,
                metric=options.metric,
                performance_factor=options.performance_factor,
                performance_floor=options.performance_floor,
                gradient=options.gradient_trigger,
                beta=options.beta,
                gradient_lambda=options.gradient_lambda,
                warm_up=options.warm_up,
                max_silence=options.max_silence,
                layers_only=options.payload == "layers",
            )
        )
    ]


def build(options: Options, federation: FederationSpec, population: Population) -> UploadPool:
    """Return the server side of GSFS."""
    return UploadPool(options, **cohort(federation, population))
