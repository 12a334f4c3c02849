"""FedYogi: v grows and shrinks by a bounded step, v <- v - (1 - b2) Delta^2 sign(v - Delta^2) (Reddi et al. 2020)."""

from typing import Annotated

from flwr.serverapp.strategy import FedYogi
from pydantic import Field

from fedbench.federation.moments import Moments, ServerOptimiser
from fedbench.federation.strategies import Population
from fedbench.federation.strategies.fedavg import cohort
from fedbench.spec import FederationSpec


class Options(ServerOptimiser):
    """Yogi on the server."""

    beta2: Annotated[float, Field(ge=0, lt=1, description="decay of v")] = 0.99


class Yogi(Moments, FedYogi):  # type: ignore[misc]
    """Flower's FedYogi from v0 = tau^2."""

    def __init__(self, options: Options, **cohort_options: object) -> None:
        super().__init__(options, **cohort_options)
        self.beta_2 = options.beta2


def build(options: Options, federation: FederationSpec, population: Population) -> Yogi:
    """Return FedYogi with the declared server optimiser."""
    return Yogi(options, **cohort(federation, population))
