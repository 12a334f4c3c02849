"""FedAdam, the GSFS paper's FedOpt: Adam on the server over the mean update (Reddi et al. 2020; GSFS eqs. 3-6)."""

from collections.abc import Iterable
from typing import Annotated

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp.strategy import FedAdam
from pydantic import Field

from fedbench.federation.moments import Moments, ServerOptimiser
from fedbench.federation.strategies import Population
from fedbench.federation.strategies.fedavg import cohort
from fedbench.spec import FederationSpec


class Options(ServerOptimiser):
    """Adam on the server."""

    beta2: Annotated[float, Field(ge=0, lt=1, description="decay of v")] = 0.99
    bias_correction: Annotated[
        bool, Field(description="Flower's variant: eta_s sqrt(1 - beta2^(t+1)) / (1 - beta1^(t+1)) in round t")
    ] = False


class Adam(Moments, FedAdam):  # type: ignore[misc]
    """Flower's FedAdam, without its bias correction unless that is asked for: Reddi et al. have none."""

    def __init__(self, options: Options, **cohort_options: object) -> None:
        super().__init__(options, **cohort_options)
        self.options, self.beta_2 = options, options.beta2

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate one round; see Flower."""
        self.eta = self.options.server_learning_rate
        if not self.options.bias_correction:
            # Flower 1.41 always multiplies eta by this factor; dividing by it first leaves eta_s alone.
            t = server_round + 1.0
            self.eta /= float(np.sqrt(1 - self.beta_2**t) / (1 - self.beta_1**t))
        return super().aggregate_train(server_round, replies)


def build(options: Options, federation: FederationSpec, population: Population) -> Adam:
    """Return FedAdam with the declared server optimiser."""
    return Adam(options, **cohort(federation, population))
