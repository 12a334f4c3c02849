"""Seeded faults and delays of a run: lost replies, slow clients, jitter. The delays only move the virtual clock."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedbench.spec import FederationSpec

# Distinct streams under one seed, so that raising the jitter loses no other reply.
DROPOUT, JITTER, STRAGGLERS = 1, 2, 3


@dataclass(frozen=True)
class Conditions:
    """What befalls client i in round t, drawn from (seed, t, i): the same whoever else is in the cohort."""

    spec: FederationSpec
    seed: int
    clients: int

    def lost(self, number: int, client: int) -> bool:
        """Return whether this client's reply of this round never arrives."""
        return bool(self._draw(DROPOUT, number, client).random() < self.spec.dropout)

    def slowness(self, number: int, client: int) -> float:
        """Return the factor on the modelled seconds of this step: log-normal jitter, times `slowdown` if slow."""
        factor = float(np.exp(self.spec.jitter * self._draw(JITTER, number, client).standard_normal()))
        return factor * self.spec.slowdown if client in self.slow else factor

    @cached_property
    def slow(self) -> frozenset[int]:
        """The stragglers: round(share x N) clients, the same ones all through a run."""
        count = round(self.spec.stragglers * self.clients)
        order = np.random.default_rng([self.seed, STRAGGLERS]).permutation(self.clients)
        return frozenset(int(client) for client in order[:count])

    def _draw(self, stream: int, number: int, client: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream, number, client])
