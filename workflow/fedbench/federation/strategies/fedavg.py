"""FedAvg: the sample-weighted mean of the clients' parameters (McMahan et al. 2017; GSFS eq. 2)."""

from typing import Any

from flwr.serverapp.strategy import FedAvg

from fedbench.federation.strategies import Population
from fedbench.spec import FederationSpec, Spec


class Options(Spec):
    """FedAvg has none."""


def cohort(federation: FederationSpec, population: Population) -> dict[str, Any]:
    """Return the keyword arguments by which a Flower strategy samples exactly C of N clients and evaluates none."""
    return {
        "fraction_train": federation.clients_per_round / population.clients,
        "min_train_nodes": federation.clients_per_round,
        "min_available_nodes": population.clients,
        "fraction_evaluate": 0.0,
        "min_evaluate_nodes": 0,
    }


def build(options: Options, federation: FederationSpec, population: Population) -> FedAvg:
    """Return Flower's FedAvg."""
    return FedAvg(**cohort(federation, population))
