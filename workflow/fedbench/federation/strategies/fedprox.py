"""FedProx: FedAvg whose clients minimise loss + mu/2 |w_i - w|^2 (Li et al. 2018)."""

from typing import Annotated

from flwr.serverapp.strategy import FedProx
from pydantic import Field

from fedbench.federation.strategies import Population
from fedbench.federation.strategies.fedavg import cohort
from fedbench.spec import FederationSpec, Spec


class Options(Spec):
    """The proximal term."""

    mu: Annotated[float, Field(ge=0, description="weight of the proximal term; 0 is FedAvg")] = 0.01


def build(options: Options, federation: FederationSpec, population: Population) -> FedProx:
    """Return Flower's FedProx, which sends mu to the clients as `proximal-mu`."""
    return FedProx(**cohort(federation, population), proximal_mu=options.mu)
