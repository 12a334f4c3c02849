"""One module a strategy: its `Options`, `build`, and the client `mods` it needs.

A new strategy is a new module here and an entry in config/strategies.yaml; nothing else changes. A module may also say
`DIFFERENCES = True` (its clients upload differences to the received parameters) and `EVERY_ROUND = False` (its clients
may answer without an update), which is what compression and privacy need to know of it.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.spec import FederationSpec, Spec, StrategySpec


@dataclass(frozen=True)
class Population:
    """What a strategy may know of the clients: their number N and the optimiser steps of one local round of each."""

    clients: int
    steps: list[int]


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
        FedbenchError: int8 of a given duration; privacy where clients choose when to upload; noise of clients that is
            compressed afterwards.
    """
    if spec.compression is not None and spec.compression.kind == "int8" and spec.compression.seconds is not None:
        raise FedbenchError(
            "key 'compression.seconds': int8 is always a byte an entry, whatever the link",
            where=where or spec.name,
            remedy="Remove it, or choose topk.",
        )
    if spec.privacy is None:
        return
    if not getattr(_module(spec.kind, where), "EVERY_ROUND", True):
        raise FedbenchError(
            "key 'privacy': clients of this strategy decide from their data when to upload, which no noise covers",
            where=where or spec.name,
            remedy="Remove it, or choose a strategy in which every sampled client uploads.",
        )
    if spec.compression is not None and spec.privacy.side == "client":
        raise FedbenchError(
            "keys 'privacy.side' and 'compression': noise that a client added does not survive compression",
            where=where or spec.name,
            remedy="Set privacy.side to server, or remove compression.",
        )


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


def differences(spec: StrategySpec) -> bool:
    """Return whether replies carry differences to the received parameters rather than parameters."""
    return bool(getattr(_module(spec.kind), "DIFFERENCES", False))


def _module(kind: str, where: object = None) -> ModuleType:
    if kind not in kinds():
        raise FedbenchError(
            f"key 'kind': no strategy module {kind!r}", where=where, remedy=f"Use one of: {', '.join(kinds())}."
        )
    return importlib.import_module(f"{__name__}.{kind}")
