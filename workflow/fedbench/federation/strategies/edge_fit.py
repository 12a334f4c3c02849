"""Edge-FIT: FedAvg over adapter differences; clients upload w_i - w, the server adds their mean (Edge-FIT eq. 1)."""

from collections.abc import Callable, Iterable
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from fedbench.federation import arrays as named
from fedbench.federation.strategies import Population
from fedbench.federation.strategies.fedavg import cohort
from fedbench.spec import FederationSpec, Spec

DIFFERENCES = True


class Options(Spec):
    """Edge-FIT has none."""


class DifferenceAverage(FedAvg):  # type: ignore[misc]
    """FedAvg whose replies carry differences to the parameters that were sent."""

    current: named.Arrays

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Remember what is sent, then sample and send as FedAvg does."""
        self.current = named.to_numpy(arrays)
        messages: Iterable[Message] = super().configure_train(server_round, arrays, config, grid)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Add the sample-weighted mean difference to what was sent."""
        mean, metrics = super().aggregate_train(server_round, replies)
        if mean is None:
            return None, metrics
        return named.to_record(named.added(self.current, named.to_numpy(mean))), metrics


def difference(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
    """Client mod: replace the trained parameters of a reply by their difference to the received ones."""
    received = named.to_numpy(message.content["arrays"])
    reply = call_next(message, context)
    if reply.has_content():
        trained = named.to_numpy(reply.content["arrays"])
        reply.content["arrays"] = named.to_record(named.difference(trained, received))
    return reply


def mods(options: Options) -> list[Callable[..., Any]]:
    """Return the client side of Edge-FIT."""
    return [difference]


def build(options: Options, federation: FederationSpec, population: Population) -> DifferenceAverage:
    """Return the server side of Edge-FIT."""
    return DifferenceAverage(**cohort(federation, population))
