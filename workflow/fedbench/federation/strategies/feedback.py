"""Adaptive feedback loop: FedAvg whose participation and local rate a bandit sets (GSFS III-A, module 5).

The paper names reinforcement learning and gives no algorithm; this is UCB1 (Auer et al. 2002), a choice. An arm is a
share of the cohort and a factor on the local learning rate, held for a round; its reward is the fall of the validation
loss a modelled second. Seconds are counted from local steps rather than measured, so that a run is reproducible.
"""

import json
import math
from collections.abc import Iterable
from itertools import product
from typing import Annotated, Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from pydantic import Field

from fedbench.federation.grid import FIRST_NODE
from fedbench.federation.strategies import Population
from fedbench.federation.strategies.fedavg import cohort
from fedbench.spec import FederationSpec, Fraction, Spec


class Options(Spec):
    """Arms and cost of the bandit."""

    participation: Annotated[tuple[Fraction, ...], Field(min_length=1, description="shares of clients_per_round")] = (
        0.6,
        1.0,
    )
    rates: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...],
        Field(min_length=1, description="factors on training.learning_rate"),
    ] = (0.5, 1.0, 2.0)
    exploration: Annotated[float, Field(ge=0, description="c of UCB1, in units of the largest reward seen")] = 0.5
    step_seconds: Annotated[float, Field(gt=0, description="modelled seconds of a local step")] = 0.05
    round_seconds: Annotated[float, Field(ge=0, description="modelled seconds of a round besides its steps")] = 0.5


class Bandit(FedAvg):  # type: ignore[misc]
    """Flower's FedAvg with an arm a round; `learn` hears the validation loss of every global version."""

    def __init__(self, options: Options, federation: FederationSpec, population: Population) -> None:
        super().__init__(**cohort(federation, population))
        self.options, self.steps, self.size = options, population.steps, federation.clients_per_round
        self.arms = list(product(options.participation, options.rates))
        self.rewards: list[list[float]] = [[] for _ in self.arms]
        self.arm, self.seconds, self.loss = 0, 0.0, math.nan

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Choose an arm, sample its cohort and send its rate."""
        self.arm = self._choice()
        share, rate = self.arms[self.arm]
        chosen = max(1, round(share * self.size))
        self.fraction_train, self.min_train_nodes = chosen / len(self.steps), chosen
        config["rate-factor"] = rate
        messages = list(super().configure_train(server_round, arrays, config, grid))
        slowest = max(self.steps[message.metadata.dst_node_id - FIRST_NODE] for message in messages)
        self.seconds = self.options.round_seconds + slowest * self.options.step_seconds
        return messages

    def learn(self, loss: float) -> None:
        """Reward the arm of this round, given the validation loss of the version it led to."""
        if not math.isnan(self.loss):
            self.rewards[self.arm].append((self.loss - loss) / self.seconds)
        self.loss = loss

    def report(self) -> dict[str, Any]:
        """Return the arm of this round, for the history."""
        share, rate = self.arms[self.arm]
        return {"participation": share, "rate-factor": rate}

    def _choice(self) -> int:
        for arm, rewards in enumerate(self.rewards):
            if not rewards:
                return arm
        tried = sum(map(len, self.rewards))
        scale = max(abs(reward) for rewards in self.rewards for reward in rewards)
        bounds = [
            float(np.mean(rewards)) + self.options.exploration * scale * math.sqrt(2 * math.log(tried) / len(rewards))
            for rewards in self.rewards
        ]
        return int(np.argmax(bounds))

    def state(self) -> dict[str, np.ndarray]:
        """Return what the bandit has learnt, for a checkpoint."""
        facts = {"rewards": self.rewards, "loss": None if math.isnan(self.loss) else self.loss}
        return {"bandit": np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take it back from a checkpoint."""
        facts = json.loads(state["bandit"].tobytes())
        self.rewards = facts["rewards"]
        self.loss = math.nan if facts["loss"] is None else facts["loss"]


def build(options: Options, federation: FederationSpec, population: Population) -> Bandit:
    """Return the server side."""
    return Bandit(options, federation, population)
