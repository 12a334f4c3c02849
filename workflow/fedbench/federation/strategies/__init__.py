"""One module a strategy: its `Options`, `build`, and the client `mods` it needs.

A new strategy is a new module here and an entry in config/strategies.yaml; nothing else changes. A module may also say
`DIFFERENCES = True` (its clients upload differences to the received parameters) and `EVERY_ROUND = False` (its clients
may answer without an update), which is what compression, privacy and secure aggregation need to know of it; `frozen`
(what the names of parameters that are not trained hold) and `refused` (why a specification makes no sense with it).
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.federation.grid import FIRST_NODE
from fedbench.spec import FederationSpec, RunSpec, Spec, StrategySpec, Tier


@dataclass(frozen=True)
class Population:
    """What a strategy may know of the clients.

    Attributes:
        clients: their number N.
        steps: the mini-batches of one local round of each.
        tiers: the hardware tier of each.
        seed: of the run.
    """

    clients: int
    steps: list[int]
    tiers: list[Tier] = field(default_factory=list)
    seed: int = 0

    def tier_of(self, node: int) -> Tier:
        """Return the tier of the client that a node is."""
        return self.tiers[node - FIRST_NODE]


def kinds() -> list[str]:
    """Return the names of the strategy modules."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__))


def options(kind: str, where: object = None) -> type[Spec]:
    """Return the options model of a strategy module."""
    chosen: type[Spec] = _module(kind, where).Options
    return chosen


def check(spec: StrategySpec, where: object = None) -> None:
    """Refuse combinations whose figures would mean nothing.

    Raises:
        FedbenchError: int8 of a given duration; privacy or secure aggregation where clients choose when to upload;
            noise of clients that is compressed afterwards; a masked update that the server would have to look into;
            what the strategy itself refuses.
    """
    if spec.compression is not None and spec.compression.kind == "int8" and spec.compression.seconds is not None:
        raise FedbenchError(
            "key 'compression.seconds': int8 is always a byte an entry, whatever the link",
            where=where or spec.name,
            remedy="Remove it, or choose topk.",
        )
    module = _module(spec.kind, where)
    if not getattr(module, "EVERY_ROUND", True):
        for key in ("privacy", "secure"):
            if getattr(spec, key) is not None:
                raise FedbenchError(
                    f"key {key!r}: clients of this strategy decide from their data when to upload, which stays visible",
                    where=where or spec.name,
                    remedy="Remove it, or choose a strategy in which every sampled client uploads.",
                )
    if spec.compression is not None and spec.privacy is not None and spec.privacy.side == "client":
        raise FedbenchError(
            "keys 'privacy.side' and 'compression': noise that a client added does not survive compression",
            where=where or spec.name,
            remedy="Set privacy.side to server, or remove compression.",
        )
    if spec.secure is not None and (spec.compression is not None or (spec.privacy and spec.privacy.side == "server")):
        other = "compression" if spec.compression is not None else "privacy.side"
        raise FedbenchError(
            f"keys 'secure' and {other!r}: a server that sees the sum alone can neither unpack nor clip an update",
            where=where or spec.name,
            remedy="Remove compression; let the clients add the noise (privacy.side: client).",
        )
    reason = module.refused(module.Options(**spec.options), spec) if hasattr(module, "refused") else None
    if reason:
        raise FedbenchError(reason, where=where or spec.name, remedy="Remove one of the two.")


def build(spec: StrategySpec, federation: FederationSpec, population: Population) -> Any:
    """Return the Flower strategy of `spec`; `rounds(...)` tells how many server steps it needs."""
    check(spec)
    module = _module(spec.kind)
    return module.build(module.Options(**spec.options), federation, population)


def rounds(spec: StrategySpec, federation: FederationSpec, population: Population) -> int:
    """Return the number of server steps: T, or the ticks that give every client the same local work as T rounds."""
    module = _module(spec.kind)
    if hasattr(module, "ticks"):
        count: int = module.ticks(module.Options(**spec.options), federation, population)
        return count
    return federation.rounds


def mods(spec: StrategySpec) -> list[Callable[..., Any]]:
    """Return the client mods that the strategy needs, outermost first."""
    module = _module(spec.kind)
    return list(module.mods(module.Options(**spec.options))) if hasattr(module, "mods") else []


def population(run: RunSpec, steps: list[int]) -> Population:
    """Return what the strategy of a run may know of its clients, whose local rounds have `steps` mini-batches."""
    assert run.federation is not None
    return Population(run.clients, steps, run.federation.tier_names(run.clients), run.seed)


def frozen(spec: StrategySpec | None) -> str:
    """Return what the names of the parameters that the strategy does not train hold; nothing where it trains all."""
    if spec is None or not hasattr(_module(spec.kind), "frozen"):
        return ""
    module = _module(spec.kind)
    return str(module.frozen(module.Options(**spec.options)))


def differences(spec: StrategySpec) -> bool:
    """Return whether replies carry differences to the received parameters rather than parameters."""
    return bool(getattr(_module(spec.kind), "DIFFERENCES", False))


def _module(kind: str, where: object = None) -> ModuleType:
    if kind not in kinds():
        raise FedbenchError(
            f"key 'kind': no strategy module {kind!r}", where=where, remedy=f"Use one of: {', '.join(kinds())}."
        )
    return importlib.import_module(f"{__name__}.{kind}")
