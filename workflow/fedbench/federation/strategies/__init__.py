"""One module a strategy: its `Options`, `build`, and the client `mods` it needs.

A new strategy is a new module here and an entry in config/strategies.yaml; nothing else changes.
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


def build(spec: StrategySpec, federation: FederationSpec, population: Population) -> Any:
    """Return the Flower strategy of `spec`; `rounds(...)` tells how many server steps it needs."""
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


def _module(kind: str, where: object = None) -> ModuleType:
    if kind not in kinds():
        raise FedbenchError(
            f"key 'kind': no strategy module {kind!r}", where=where, remedy=f"Use one of: {', '.join(kinds())}."
        )
    return importlib.import_module(f"{__name__}.{kind}")
