"""What Flower's FedAdam, FedYogi and FedAdagrad need to follow Reddi et al. (2020) and to be resumed."""

from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp.strategy.fedopt import FedOpt
from pydantic import Field

from fedbench.federation.arrays import to_numpy, to_record
from fedbench.spec import Spec


class ServerOptimiser(Spec):
    """The server's step: w + eta_s m / (sqrt(v) + tau), from m = 0 and v = tau^2.

    The start of v follows Reddi et al.; Flower's FedAdam has v = 0, and by default a rate of 0.1.
    """

    server_learning_rate: Annotated[float, Field(gt=0, description="eta_s")] = 1e-3
    beta1: Annotated[float, Field(ge=0, lt=1, description="decay of m")] = 0.9
    tau: Annotated[float, Field(gt=0, description="degree of adaptivity; v0 = tau^2")] = 1e-3
    from_zero: Annotated[bool, Field(description="Flower's variant: v0 = 0")] = False


class Moments(FedOpt):  # type: ignore[misc]
    """To be put before one of Flower's strategies: starts v at tau^2, keeps the dtype, saves m and v.

    Flower 1.41 starts from v = 0, as `from_zero` asks, and hands back float64 for float32 parameters, which doubles
    every download.
    """

    m_t: dict[str, np.ndarray] | None
    v_t: dict[str, np.ndarray] | None

    def __init__(self, options: ServerOptimiser, **cohort: Any) -> None:
        super().__init__(**cohort, eta=options.server_learning_rate, tau=options.tau)
        self.beta_1 = options.beta1  # FedAdagrad takes none in its constructor
        self.from_zero = options.from_zero

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate one round; see Flower."""
        if not self.v_t and self.current_arrays and not self.from_zero:
            self.v_t = {name: np.full_like(value, self.tau**2) for name, value in self.current_arrays.items()}
        arrays, metrics = super().aggregate_train(server_round, replies)
        if arrays is not None and self.current_arrays is not None:
            dtypes = {name: value.dtype for name, value in self.current_arrays.items()}
            arrays = to_record({name: value.astype(dtypes[name]) for name, value in to_numpy(arrays).items()})
        return arrays, metrics

    def state(self) -> dict[str, np.ndarray]:
        """Return the moments as arrays, for a checkpoint."""
        return {f"{kind}/{k}": v for kind in ("m_t", "v_t") for k, v in (getattr(self, kind) or {}).items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take the moments back from a checkpoint."""
        for kind in ("m_t", "v_t"):
            found = {k.split("/", 1)[1]: v for k, v in state.items() if k.startswith(f"{kind}/")}
            setattr(self, kind, found or None)
