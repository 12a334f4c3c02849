"""Hierarchical aggregation: homes -> gateways -> cloud (Liu et al. 2020, client-edge-cloud).

Every gateway averages the differences of its own clients each round and goes on from there; every `every` rounds, and
at the end, the cloud averages what the gateways have, by the examples behind it since the last time. Only then is there
a new global version. With `every: 1` the result is that of `edge_fit`.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from pydantic import Field

from fedbench.federation import arrays as named
from fedbench.federation.arrays import Arrays
from fedbench.federation.grid import FIRST_NODE
from fedbench.federation.strategies import Population
from fedbench.federation.strategies.edge_fit import difference
from fedbench.federation.strategies.fedavg import cohort
from fedbench.spec import FederationSpec, Spec, StrategySpec, Tier

DIFFERENCES = True
GATEWAY: Tier = "gateway"


class Options(Spec):
    """Who stands between the clients and the cloud."""

    gateways: Annotated[int, Field(ge=1, description="client i belongs to gateway i mod this")] = 2
    every: Annotated[int, Field(ge=1, description="rounds from one global version to the next")] = 2


class Hierarchy(FedAvg):  # type: ignore[misc]
    """FedAvg at each gateway, and now and then over the gateways."""

    def __init__(self, options: Options, federation: FederationSpec, population: Population) -> None:
        super().__init__(**cohort(federation, population))
        self.options, self.rounds = options, federation.rounds
        self.models: list[Arrays] = []
        self.examples = [0.0] * options.gateways
        self.shared = False

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Sample as FedAvg does; every client receives what its own gateway has."""
        if not self.models:
            self.models = [named.to_numpy(arrays)] * self.options.gateways
        messages = list(super().configure_train(server_round, arrays, config, grid))
        for message in messages:
            own = self.models[self._gateway(message.metadata.dst_node_id)]
            message.content = RecordDict({**message.content, "arrays": named.to_record(own)})
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average at every gateway that heard from a client; return a global version when the cloud has its turn."""
        answers, metrics = list(replies), None
        for gateway in range(self.options.gateways):
            own = [reply for reply in answers if self._gateway(reply.metadata.src_node_id) == gateway]
            mean, metrics_here = super().aggregate_train(server_round, own) if own else (None, None)
            if mean is not None:
                self.models[gateway] = named.added(self.models[gateway], named.to_numpy(mean))
                self.examples[gateway] += sum(float(r.content["metrics"]["num-examples"]) for r in own)
                metrics = metrics_here
        self.shared = server_round % self.options.every == 0 or server_round == self.rounds
        if not self.shared or not sum(self.examples):
            self.shared = False
            return None, metrics
        shares = [count / sum(self.examples) for count in self.examples]
        version = {
            name: np.sum([p * model[name].astype(np.float64) for p, model in zip(shares, self.models, strict=True)], 0)
            for name in self.models[0]
        }
        version = {name: value.astype(self.models[0][name].dtype) for name, value in version.items()}
        self.models = [version] * self.options.gateways
        self.examples = [0.0] * self.options.gateways
        return named.to_record(version), metrics

    def exchanged(self) -> tuple[int, int] | None:
        """Return (gateways, bytes that each sent to the cloud and got back) for the last version, if there was one."""
        if not self.shared:
            return None
        return self.options.gateways, sum(value.nbytes for value in self.models[0].values())

    def state(self) -> Arrays:
        """Return what a resumed run needs."""
        parts = {f"{k}/{name}": value for k, model in enumerate(self.models) for name, value in model.items()}
        return parts | {"examples": np.array(self.examples)}

    def restore(self, state: Arrays) -> None:
        """Put back what `state` returned."""
        self.examples = [float(count) for count in state["examples"]]
        self.models = [
            {name.removeprefix(f"{k}/"): value for name, value in state.items() if name.startswith(f"{k}/")}
            for k in range(self.options.gateways)
        ]

    def _gateway(self, node: int) -> int:
        return (node - FIRST_NODE) % self.options.gateways


def mods(options: Options) -> list[Callable[..., Any]]:
    """Return the client side, which is Edge-FIT's."""
    return [difference]


def refused(options: Options, spec: StrategySpec) -> str | None:
    """Return why `spec` cannot be had here, if so."""
    if spec.privacy or spec.secure:
        return "gateways average for themselves: privacy and secure aggregation would have to be at each of them"
    return None


def build(options: Options, federation: FederationSpec, population: Population) -> Hierarchy:
    """Return the server side: all gateways and the cloud."""
    return Hierarchy(options, federation, population)
