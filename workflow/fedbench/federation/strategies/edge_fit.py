"""Edge-FIT: FedAvg over adapter differences; clients upload w_i - w, the server adds their mean (Edge-FIT eq. 1)."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from fedbench.federation.strategies import Population
from fedbench.federation.strategies.fedavg import cohort
from fedbench.spec import FederationSpec, Spec


class Options(Spec):
    """Edge-FIT has none."""


class DifferenceAverage(FedAvg):  # type: ignore[misc]
    """FedAvg whose replies carry differences to the parameters that were sent."""

    current: dict[str, np.ndarray]

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Remember what is sent, then sample and send as FedAvg does."""
        self.current = {name: array.numpy() for name, array in arrays.items()}
        messages: Iterable[Message] = super().configure_train(server_round, arrays, config, grid)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Add the sample-weighted mean difference to what was sent."""
        mean, metrics = super().aggregate_train(server_round, replies)
        if mean is None:
            return None, metrics
        return ArrayRecord(
            {name: Array((self.current[name] + mean[name].numpy()).astype(np.float32)) for name in mean}
        ), metrics


def difference(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
    """Client mod: replace the trained parameters of a reply by their difference to the received ones."""
    received = {name: array.numpy() for name, array in message.content["arrays"].items()}
    reply = call_next(message, context)
    if reply.has_content():
        trained = reply.content["arrays"]
        reply.content["arrays"] = ArrayRecord(
            {name: Array(array.numpy() - received[name]) for name, array in trained.items()}
        )
    return reply


def mods(options: Options) -> list[Callable[..., Any]]:
    """Return the client side of Edge-FIT."""
    return [difference]


def build(options: Options, federation: FederationSpec, population: Population) -> DifferenceAverage:
    """Return the server side of Edge-FIT."""
    return DifferenceAverage(**cohort(federation, population))
