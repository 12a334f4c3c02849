"""FedAdagrad: v adds up every squared update, v <- v + Delta^2 (Reddi et al. 2020)."""

from typing import Annotated

from flwr.serverapp.strategy import FedAdagrad
from pydantic import Field

from fedbench.federation.moments import Moments, ServerOptimiser
from fedbench.federation.strategies import Population
from fedbench.federation.strategies.fedavg import cohort
from fedbench.spec import FederationSpec


class Options(ServerOptimiser):
    """Adagrad on the server."""

    beta1: Annotated[float, Field(ge=0, lt=1, description="decay of m; 0 in Reddi et al.")] = 0.0


class Adagrad(Moments, FedAdagrad):  # type: ignore[misc]
    """Flower's FedAdagrad from v0 = tau^2."""


def build(options: Options, federation: FederationSpec, population: Population) -> Adagrad:
    """Return FedAdagrad with the declared server optimiser."""
    return Adagrad(options, **cohort(federation, population))
