"""The virtual clock: what a step would take on a declared hardware tier. Every figure from it is modelled."""

from dataclasses import dataclass, field

from fedbench.spec import LinkedTier


def step_seconds(
    tier: LinkedTier, seconds: float, bytes_down: int, bytes_up: int, slowness: float = 1.0, link: float = 1.0
) -> float:
    """Return the modelled duration of one step on a tier.

    Args:
        slowness: factor of jitter and stragglers.
        link: factor on the rates of the tier's link.
    """
    return slowness * (
        seconds / tier.compute
        + bytes_down * 8 / (link * tier.down_mbit * 1e6)
        + bytes_up * 8 / (link * tier.up_mbit * 1e6)
        + 2 * tier.latency_ms / 1e3
    )


@dataclass
class Clock:
    """Adds up modelled seconds.

    A client's step takes measured compute / relative speed + bytes / rate + two one-way latencies; a server step lasts
    as long as its slowest client, whose reply may be lost: the server waits for it all the same.

    Attributes:
        now: modelled seconds since the start.
        versions: times at which a new global version appeared.
        waits: seconds from the start of a client's step to the version that holds its update.
    """

    now: float = 0.0
    versions: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    pending: dict[int, float] = field(default_factory=dict)

    def step(self, durations: dict[int, float], uploaded: set[int], new_version: bool, beyond: float = 0.0) -> None:
        """Advance by one server step.

        Args:
            durations: client -> modelled seconds of its step.
            uploaded: clients whose update went up in this step.
            new_version: the server made a new global version of what it has pooled.
            beyond: modelled seconds of what follows the clients, between gateways and cloud.
        """
        begun = self.now
        self.now += max(durations.values(), default=0.0) + beyond
        for client in uploaded:
            self.pending[client] = begun
        if new_version:
            self.versions.append(self.now)
            self.waits += [self.now - start for start in self.pending.values()]
            self.pending = {}

    @property
    def central_seconds(self) -> float | None:
        """Mean seconds from one global version to the next."""
        return self.versions[-1] / len(self.versions) if self.versions else None

    @property
    def mean_wait(self) -> float | None:
        """Mean seconds of compute, transfer and waiting until a client's update is in a version."""
        return sum(self.waits) / len(self.waits) if self.waits else None
