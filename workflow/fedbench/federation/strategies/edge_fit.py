"""Edge-FIT: FedAvg over adapter differences; clients upload w_i - w, the server adds their mean (Edge-FIT eq. 1).

The mean of the factors A and B is not the mean of their products, so what is done about it is an option:

- `factors`: nothing, as both papers do; every round reports how much is missed.
- `ffa`: A stays as it was drawn and only B is trained, so that the mean is exact (FFA-LoRA, Sun et al. 2024).
- `stacked`: the mean product goes beside the base model, and every round starts new factors (FLoRA, Wang et al. 2024).
- `exact`: factors are averaged; what their mean misses is kept beside the base (FedEx-LoRA, Singhal et al. 2025).

The last two send the clients the whole correction so far, since clients keep nothing between rounds.
"""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from pydantic import Field

from fedbench.federation import arrays as named
from fedbench.federation import lowrank, ranks
from fedbench.federation.arrays import Arrays
from fedbench.federation.strategies import Population
from fedbench.federation.strategies.fedavg import cohort
from fedbench.spec import FederationSpec, Spec, StrategySpec, Tier
from fedbench.training.correction import split

DIFFERENCES = True
FRESH = 5  # a stream of randomness of its own under the run's seed


class Options(Spec):
    """How the clients' factors become one adapter."""

    aggregation: Annotated[
        Literal["factors", "ffa", "stacked", "exact"], Field(description="what is done about averaging A and B apart")
    ] = "factors"
    ranks: Annotated[
        dict[Tier, Annotated[int, Field(ge=1)]],
        Field(
            default_factory=dict,
            description="largest rank that a client of a tier trains; a tier that is not named trains the full r",
        ),
    ]


class AdapterAverage(FedAvg):  # type: ignore[misc]
    """FedAvg whose replies carry differences to the parameters that were sent."""

    def __init__(self, options: Options, federation: FederationSpec, population: Population) -> None:
        super().__init__(**cohort(federation, population))
        self.options, self.population = options, population
        self.current: Arrays = {}
        self.bias: float | None = None

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Remember what is sent, then sample and send as FedAvg does, to each client at its own rank."""
        self.current = named.to_numpy(arrays)
        messages = list(super().configure_train(server_round, arrays, config, grid))
        for message in messages:
            rank = self._rank(message.metadata.dst_node_id)
            if rank is not None:
                message.content = ranks.narrowed(message.content, self.current, rank)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Add the sample-weighted mean difference to what was sent, in the way of `aggregation`."""
        answers, _ = self._check_and_log_replies(list(replies), is_train=True)
        if not answers:
            return None, None
        sent, correction = split(self.current)
        held = [self._rank(reply.metadata.src_node_id) for reply in answers]
        for reply, rank in zip(answers, held, strict=True):
            if rank is not None:
                ranks.widen(reply, sent)
        metrics = self.train_metrics_aggr_fn([reply.content for reply in answers], self.weighted_by_key)
        # As FedAvg, but in place: at the size of a 7B model Flower's copies would be most of the time and the memory.
        weights, updates = _shares(answers), [named.views(reply.content["arrays"]) for reply in answers]
        mean = named.weighted_mean(updates, weights)
        self.bias = lowrank.averaging_bias(updates, weights, sent, mean) if len(updates) > 1 else None
        new = named.added(sent, ranks.by_holders(mean, held, weights) if self.options.ranks else mean)
        if self.options.aggregation in ("stacked", "exact"):
            adapters = [named.added(sent, update) for update in updates]
            new = self._corrected(server_round, new, correction, adapters, weights)
        return named.to_record(new), metrics

    def report(self) -> dict[str, Any]:
        """Return what the history says of a round beside Flower's metrics."""
        return {} if self.bias is None else {"averaging-bias": self.bias}

    def _corrected(
        self, server_round: int, new: Arrays, correction: Arrays, adapters: list[Arrays], weights: list[float]
    ) -> Arrays:
        """Return the new global parameters with their correction."""
        exact = self.options.aggregation == "exact"
        if exact and len(adapters) == 1:
            return new | correction
        modules, kept = lowrank.pairs(list(new)), Arrays()
        for module, both in modules.items():
            if exact:
                more = lowrank.beyond(adapters, weights, new, both)
            else:
                more = lowrank.mean_product(adapters, weights, both)
            kept |= lowrank.accumulated(correction, module, more)
        if not exact:
            new = new | _fresh(new, modules, (self.population.seed, FRESH, server_round))
        return new | kept

    def _rank(self, node: int) -> int | None:
        """Return the rank that a node trains, None for the full one."""
        return self.options.ranks.get(self.population.tier_of(node)) if self.options.ranks else None


def _shares(replies: list[Message]) -> list[float]:
    """Return p_i = n_i / n of the replies."""
    counts = [float(reply.content["metrics"]["num-examples"]) for reply in replies]
    return [count / sum(counts) for count in counts]


def _fresh(arrays: Arrays, modules: dict[str, tuple[str, str]], seed: tuple[int, ...]) -> Arrays:
    """Return new factors as PEFT draws them: A uniform within 1 / sqrt(in), B zero."""
    rng, drawn = np.random.default_rng(seed), Arrays()
    for a, b in modules.values():
        bound = arrays[a].shape[1] ** -0.5
        drawn |= {a: rng.uniform(-bound, bound, arrays[a].shape).astype(np.float32), b: np.zeros_like(arrays[b])}
    return drawn


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
    return [ranks.mod, difference] if options.ranks else [difference]


def frozen(options: Options) -> str:
    """Return what parameters are not trained are called by."""
    return lowrank.A if options.aggregation == "ffa" else ""


def refused(options: Options, spec: StrategySpec) -> str | None:
    """Return why `spec` cannot be had with these options, if so."""
    if options.aggregation in ("stacked", "exact") and (spec.privacy or spec.secure):
        return f"aggregation {options.aggregation} needs each client's factors, of which only the mean is let out"
    if options.ranks and (spec.privacy or spec.secure or spec.compression):
        return "ranks that differ give uploads of different shapes, which privacy, secure and compression take as equal"
    return None


def build(options: Options, federation: FederationSpec, population: Population) -> AdapterAverage:
    """Return the server side of Edge-FIT."""
    return AdapterAverage(options, federation, population)
