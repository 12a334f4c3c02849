"""FedAdam, the GSFS paper's FedOpt: Adam on the server over the mean update (Reddi et al. 2020; GSFS eqs. 3-6)."""

from collections.abc import Iterable
from typing import Annotated

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord
from flwr.serverapp.strategy import FedAdam
from pydantic import Field

from fedbench.federation.strategies import Population
from fedbench.federation.strategies.fedavg import cohort
from fedbench.spec import FederationSpec, Spec


class Options(Spec):
    """Server optimiser. Flower's own defaults (rate 0.1, v0 = 0) blow up on small adapter updates, hence ours."""

    server_learning_rate: Annotated[float, Field(gt=0, description="eta_s")] = 1e-3
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    tau: Annotated[float, Field(gt=0, description="degree of adaptivity; v0 = tau^2")] = 1e-3


class FloatFedAdam(FedAdam):  # type: ignore[misc]
    """Flower's FedAdam (with its bias correction) from v0 = tau^2, returning the dtype that it was given.

    Flower 1.41 starts from v0 = 0 and hands back float64 for float32 parameters, which doubles every download.
    """

    v_t: dict[str, np.ndarray] | None

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate one round; see Flower."""
        if not self.v_t and self.current_arrays:
            self.v_t = {name: np.full_like(value, self.tau**2) for name, value in self.current_arrays.items()}
        arrays, metrics = super().aggregate_train(server_round, replies)
        if arrays is not None and self.current_arrays is not None:
            dtypes = {name: value.dtype for name, value in self.current_arrays.items()}
            arrays = ArrayRecord({name: Array(a.numpy().astype(dtypes[name])) for name, a in arrays.items()})
        return arrays, metrics

    def state(self) -> dict[str, np.ndarray]:
        """Return the moments as arrays, for a checkpoint."""
        return {f"{kind}/{k}": v for kind in ("m_t", "v_t") for k, v in (getattr(self, kind) or {}).items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take the moments back from a checkpoint."""
        for kind in ("m_t", "v_t"):
            found = {k.split("/", 1)[1]: v for k, v in state.items() if k.startswith(f"{kind}/")}
            setattr(self, kind, found or None)


def build(options: Options, federation: FederationSpec, population: Population) -> FloatFedAdam:
    """Return Flower's FedAdam with the declared server optimiser."""
    return FloatFedAdam(
        **cohort(federation, population),
        eta=options.server_learning_rate,
        beta_1=options.beta1,
        beta_2=options.beta2,
        tau=options.tau,
    )
