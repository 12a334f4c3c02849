"""FedAvgM: heavy-ball momentum on the server over the mean update (Hsu et al. 2019)."""

from typing import Annotated

import numpy as np
from flwr.serverapp.strategy import FedAvgM
from pydantic import Field

from fedbench.federation.strategies import Population
from fedbench.federation.strategies.fedavg import cohort
from fedbench.spec import FederationSpec, Spec


class Options(Spec):
    """Server momentum."""

    server_learning_rate: Annotated[float, Field(gt=0, description="eta_s; 1 without momentum is FedAvg")] = 1.0
    momentum: Annotated[float, Field(ge=0, lt=1, description="share of the last step that is taken again")] = 0.9


class Momentum(FedAvgM):  # type: ignore[misc]
    """Flower's FedAvgM, whose momentum a resumed run takes back."""

    momentum_vector: list[np.ndarray] | None

    def state(self) -> dict[str, np.ndarray]:
        """Return the momentum as arrays, for a checkpoint; Flower keeps it by position."""
        return {str(k): value for k, value in enumerate(self.momentum_vector or [])}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take the momentum back from a checkpoint."""
        self.momentum_vector = [state[str(k)] for k in range(len(state))] or None


def build(options: Options, federation: FederationSpec, population: Population) -> Momentum:
    """Return Flower's FedAvgM."""
    return Momentum(
        **cohort(federation, population),
        server_learning_rate=options.server_learning_rate,
        server_momentum=options.momentum,
    )
