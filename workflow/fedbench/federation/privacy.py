"""Client-level DP-FedAvg: clip every update as a whole, release only their noisy mean, account for each release.

Flower's own wrappers are not used. Version 1.41 takes every reply for parameters (a strategy of differences would be
clipped wrongly), adds the noise after the strategy's step (FedAdam's step does not have the mean's sensitivity),
divides it by the clients that were asked (too little noise once replies are lost), fails on an update of norm 0 and
accounts for plain FedAvg without amplification alone. Here the private mean replaces the replies, so that whatever a
strategy computes from it is post-processing.

The noise is drawn from the run's seed, because a benchmark has to be repeatable. A deployment needs a secret source.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import Context, Message, MetricRecord

from fedbench.federation.arrays import Arrays, added, difference, to_numpy, to_record
from fedbench.spec import PrivacySpec

NOISE = 4  # a stream of randomness of its own under the run's seed
SERVER = 2**32 - 1  # where a client's number would stand


def clip(update: Arrays, bound: float) -> Arrays:
    """Return the update scaled down to an L2 norm of at most `bound`, taken over all parameters together."""
    norm = l2_norm(update)
    scale = min(1.0, bound / norm) if norm > 0 else 1.0
    return {name: (value * scale).astype(value.dtype) for name, value in update.items()}


def l2_norm(update: Arrays) -> float:
    """Return the L2 norm of an update over all its parameters."""
    return float(np.sqrt(sum(np.square(value, dtype=np.float64).sum() for value in update.values())))


def noisy(update: Arrays, deviation: float, rng: np.random.Generator) -> Arrays:
    """Return the update plus Gaussian noise, in its own dtypes."""
    return {
        name: (update[name] + rng.normal(0.0, deviation, update[name].shape)).astype(update[name].dtype)
        for name in sorted(update)
    }


def mods(spec: PrivacySpec | None, cohort: int, seed: int, differences: bool) -> list[Callable[..., Any]]:
    """Return the client mod of `side: client`: clip, then add this client's share, sigma C / sqrt(m), of the noise.

    The server never holds a clean update, and the mean of m such updates carries the noise sigma C / m.
    """
    if spec is None or spec.side == "server":
        return []

    def mod(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
        received = to_numpy(message.content["arrays"])
        number = int(message.content["config"]["server-round"])
        reply = call_next(message, context)
        if not reply.has_content():
            return reply
        sent = to_numpy(reply.content["arrays"])
        update = clip(sent if differences else difference(sent, received), spec.clip)
        client = int(context.node_config["partition-id"])
        rng = np.random.default_rng([seed, NOISE, number, client])
        update = noisy(update, spec.noise_multiplier * spec.clip / np.sqrt(cohort), rng)
        reply.content["arrays"] = to_record(update if differences else added(received, update))
        return reply

    return [mod]


class Accountant:
    """Adds up what releases cost: neighbours differ in one client's whole data ("replace one"), m of N are sampled.

    Replacing a client moves a sum of clipped updates by up to 2C, hence sigma / 2 below. The bound for sampling without
    replacement (Wang et al. 2019) can exceed that of no sampling at all; both hold, so the smaller one counts.
    """

    def __init__(self, clients: int) -> None:
        # Imported here: a run without privacy does not wait for it.
        from dp_accounting import NeighboringRelation  # type: ignore[import-untyped]
        from dp_accounting.rdp import RdpAccountant  # type: ignore[import-untyped]

        self.clients, self.releases = clients, Counter[tuple[float, int]]()
        self._sampled = RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_ONE)
        self._whole = RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_ONE)

    def add(self, sigma: float, count: int, times: int = 1) -> None:
        """Add releases of a sum over `count` sampled clients with noise sigma C."""
        from dp_accounting import GaussianDpEvent, SampledWithoutReplacementDpEvent

        event = GaussianDpEvent(sigma / 2)
        self._sampled.compose(SampledWithoutReplacementDpEvent(self.clients, count, event), times)
        self._whole.compose(event, times)
        self.releases[sigma, count] += times

    def epsilon(self, delta: float) -> float:
        """Return epsilon of all releases together."""
        return float(min(self._sampled.get_epsilon(delta), self._whole.get_epsilon(delta)))


class PrivateMean:
    """Turns the replies of a round into one reply with their private mean, and accounts for it.

    The guarantee is for the released models, not for the losses that clients report to the benchmark's history.
    """

    def __init__(self, spec: PrivacySpec, clients: int, cohort: int, seed: int, differences: bool) -> None:
        self.spec, self.cohort, self.seed, self.differences = spec, cohort, seed, differences
        self._accountant = Accountant(clients)

    def release(self, number: int, current: Arrays, replies: list[Message]) -> list[Message]:
        """Return one reply in place of k: their uniform mean with noise sigma C / k."""
        updates = []
        for reply in replies:
            sent = to_numpy(reply.content["arrays"])
            update = sent if self.differences else difference(sent, current)
            updates.append(clip(update, self.spec.clip) if self.spec.side == "server" else update)
        count, sigma = len(updates), self.spec.noise_multiplier
        mean: Arrays = {n: np.stack([u[n] for u in updates]).mean(axis=0, dtype=np.float64) for n in updates[0]}
        if self.spec.side == "server":
            rng = np.random.default_rng([self.seed, NOISE, number, SERVER])
            mean = noisy(mean, sigma * self.spec.clip / count, rng)
        else:
            sigma *= float(np.sqrt(count / self.cohort))  # lost replies took their share of the noise with them
        if sigma > 0:
            self._accountant.add(sigma, count)
        mean = {name: value.astype(current[name].dtype) for name, value in mean.items()}
        answer = replies[0]
        answer.content["arrays"] = to_record(mean if self.differences else added(current, mean))
        answer.content["metrics"] = MetricRecord({"num-examples": 1})
        return [answer]

    @property
    def epsilon(self) -> float | None:
        """Epsilon of everything released so far; None without noise, when there is no guarantee."""
        return self._accountant.epsilon(self.spec.delta) if self.spec.noise_multiplier > 0 else None

    def report(self) -> dict[str, Any]:
        """Return the guarantee in words and figures, for usage.json."""
        sampled = f"{self.cohort} of {self._accountant.clients} clients a round without replacement"
        return {
            "epsilon": self.epsilon,
            "delta": self.spec.delta,
            "noise_multiplier": self.spec.noise_multiplier,
            "clip": self.spec.clip,
            "scheme": f"client level, replace one; {sampled}; noise by the {self.spec.side}; RDP accountant",
        }

    def state(self) -> dict[str, np.ndarray]:
        """Return the releases so far, rows of (sigma, count, times), for a checkpoint."""
        rows = [[sigma, count, times] for (sigma, count), times in self._accountant.releases.items()]
        return {"releases": np.array(rows, dtype=np.float64).reshape(-1, 3)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Account again for the releases of a checkpoint."""
        for sigma, count, times in state["releases"]:
            self._accountant.add(float(sigma), int(count), int(times))
