"""The bandit of the adaptive feedback loop: which arm it plays, what it pays for it, and what it remembers."""

import json

import numpy as np
import scripted
import tiny

from fedbench.federation.strategies import Population
from fedbench.federation.strategies.feedback import Bandit, Options
from fedbench.spec import FederationSpec

FEDERATION = FederationSpec(rounds=9, clients_per_round=4, client_tier="local")
INITIAL = scripted.normal((3, 2), seed=1)


def bandit(**options):
    return Bandit(Options(**options), FEDERATION, Population(4, [10, 10, 10, 10]))


def play(strategy, gain, rounds):
    """Let the arm that `gain` favours lower the loss; returns the arms played."""
    loss, played = 10.0, []
    strategy.learn(loss)
    for _ in range(rounds):
        strategy.arm, strategy.seconds = strategy._choice(), 1.0
        played.append(strategy.arm)
        loss -= gain[strategy.arm]
        strategy.learn(loss)
    return played


def test_every_arm_is_tried_once_and_then_the_best_is_played_most():
    played = play(bandit(), [0.1, 0.1, 0.1, 0.1, 1.0, 0.1], 40)
    assert played[:6] == [0, 1, 2, 3, 4, 5]
    assert played[6:].count(4) > 25


def test_without_exploration_the_best_arm_is_played_for_ever():
    assert set(play(bandit(exploration=0.0), [0.0, 0.5, 0.2, 0.1, 0.1, 0.1], 20)[6:]) == {1}


def test_a_reward_is_the_fall_of_the_loss_a_modelled_second():
    strategy = bandit(participation=(1.0,), rates=(1.0,), step_seconds=0.2, round_seconds=2.0)
    strategy.learn(5.0)
    strategy.seconds = 2.0 + 10 * 0.2
    strategy.learn(3.0)
    assert strategy.rewards == [[0.5]]


def test_a_checkpoint_keeps_what_was_learnt():
    first, second = bandit(), bandit()
    play(first, [0.1, 0.9, 0.1, 0.1, 0.1, 0.1], 10)
    second.restore(first.state())
    assert (second.rewards, second.loss, second._choice()) == (first.rewards, first.loss, first._choice())


def test_a_run_takes_the_arms_cohort_and_says_which_it_played(tmp_path):
    def update(client, number):
        return {name: np.ones_like(value) for name, value in INITIAL.items()}

    options = {"participation": [0.5, 1.0], "rates": [1.0]}
    run = tiny.run("feedback", clients=4, options=options, federation=FEDERATION)
    outcome, _ = scripted.federate(run, update, INITIAL, tmp_path)
    server = {r["round"]: json.loads(r["metrics"]) for r in outcome.history if r["client"] == -1 and r["round"]}
    for number, metrics in server.items():
        trained = [r for r in outcome.history if r["round"] == number and r["phase"] == "train"]
        assert len(trained) == round(metrics["participation"] * 4), number
    assert {metrics["participation"] for metrics in server.values()} == {0.5, 1.0}
