"""Lost replies, slow clients and jitter: seeded, recorded, and never mistaken for work."""

import numpy as np
import pytest
import scripted
import tiny
from flwr.app import Error, Message
from flwr.serverapp.strategy import FedAvg

from fedbench.federation.conditions import Conditions
from fedbench.procedures.common import federated_usage
from fedbench.spec import FederationSpec

SHAPES = ((6, 4), (5,))
INITIAL = scripted.normal(*SHAPES, seed=5)
UPDATE = scripted.drawn(*SHAPES)


def run(strategy="fedavg", rounds=4, cohort=3, clients=3, seed=0, options=None, **federation):
    spec = FederationSpec(rounds=rounds, clients_per_round=cohort, client_tier="local", **federation)
    return tiny.run(strategy, clients=clients, federation=spec, seed=seed, options=options)


def clients_of(outcome, phase):
    return [(r["round"], r["client"]) for r in outcome.history if r["phase"] == phase and r["client"] >= 0]


# --- the draws ---


def test_draws_depend_on_seed_round_and_client_alone():
    spec = FederationSpec(dropout=0.5, jitter=0.3, stragglers=0.3)
    one, again, other = (Conditions(spec, seed, 20) for seed in (0, 0, 1))
    grid = [(t, i) for t in range(1, 30) for i in range(20)]
    assert [one.lost(*at) for at in grid] == [again.lost(*at) for at in reversed(grid)][::-1]
    assert [one.lost(*at) for at in grid] != [other.lost(*at) for at in grid]
    assert one.slow != other.slow
    calm = Conditions(spec.model_copy(update={"jitter": 0.0, "stragglers": 0.0}), 0, 20)
    assert [one.lost(*at) for at in grid] == [calm.lost(*at) for at in grid], "jitter loses no other reply"


def test_rates_are_those_that_were_asked_for():
    conditions = Conditions(FederationSpec(dropout=0.3, jitter=0.5, stragglers=0.25, slowdown=4.0), 3, 40)
    grid = [(t, i) for t in range(1, 51) for i in range(40)]
    assert np.mean([conditions.lost(*at) for at in grid]) == pytest.approx(0.3, abs=0.03)
    assert len(conditions.slow) == 10
    logs = np.log([conditions.slowness(*at) / (4.0 if at[1] in conditions.slow else 1.0) for at in grid])
    assert logs.std() == pytest.approx(0.5, rel=0.1)
    assert logs.mean() == pytest.approx(0.0, abs=0.05)


def test_nothing_befalls_anyone_by_default():
    conditions = Conditions(FederationSpec(), 0, 10)
    assert not any(conditions.lost(t, i) for t in range(20) for i in range(10))
    assert {conditions.slowness(t, i) for t in range(20) for i in range(10)} == {1.0}


# --- in a run ---


def test_a_lost_reply_never_reaches_the_strategy(tmp_path, monkeypatch):
    arrived, aggregate = [], FedAvg.aggregate_train

    def spy(self, server_round, replies):
        arrived.extend((server_round, reply.metadata.src_node_id - 1000) for reply in replies)
        return aggregate(self, server_round, replies)

    monkeypatch.setattr(FedAvg, "aggregate_train", spy)
    outcome, grid = scripted.federate(run(dropout=0.4, rounds=6), UPDATE, INITIAL, tmp_path)
    lost = clients_of(outcome, "lost")
    assert lost
    assert sorted(arrived) == sorted(clients_of(outcome, "train"))
    assert sorted(arrived + lost) == [(t, i) for t in range(1, 7) for i in range(3)]
    assert federated_usage(outcome)["replies"] == {"lost": len(lost), "failed": 0}
    assert outcome.bytes_up == sum(exchange.bytes_up for exchange in grid.exchanges), "what was sent was sent"
    assert not any(r["uploaded"] for r in outcome.history if r["phase"] == "lost")


def test_the_mean_is_over_the_replies_that_arrived(tmp_path):
    outcome, _ = scripted.federate(run(dropout=0.4, rounds=6), UPDATE, INITIAL, tmp_path)
    wanted = {name: value.astype(np.float64) for name, value in INITIAL.items()}
    for number in range(1, 7):
        there = [client for t, client in clients_of(outcome, "train") if t == number]
        total = sum(client + 1 for client in there)
        for client in there:
            for name, value in UPDATE(client, number).items():
                wanted[name] = wanted[name] + (client + 1) / total * value
    for name, value in outcome.arrays.items():
        np.testing.assert_allclose(value, wanted[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "strategy", ["fedavg", "fedprox", "fedavgm", "fedadam", "gsfs", "edge-fit", "fedavg-dp", "fedavg-topk"]
)
def test_a_round_without_any_reply_keeps_the_global_model(tmp_path, strategy):
    options = {"local_steps": None} if strategy == "gsfs" else None
    outcome, _ = scripted.federate(run(strategy, dropout=0.999999, options=options), UPDATE, INITIAL, tmp_path)
    assert outcome.lost == 12
    assert outcome.clock.versions == []
    for name, value in INITIAL.items():
        np.testing.assert_array_equal(outcome.arrays[name], value)
    assert outcome.clock.now > 0, "the waiting counts"


def test_delays_move_the_virtual_clock_and_no_weight(tmp_path):
    calm, slow, uneven = (
        scripted.federate(run(**changes), UPDATE, INITIAL, tmp_path / str(k))[0]
        for k, changes in enumerate([{}, {"stragglers": 1.0, "slowdown": 3.0}, {"jitter": 1.0}])
    )
    assert slow.clock.now == pytest.approx(3 * calm.clock.now)
    assert uneven.clock.now != calm.clock.now
    for name, value in calm.arrays.items():
        np.testing.assert_array_equal(slow.arrays[name], value)
        np.testing.assert_array_equal(uneven.arrays[name], value)
    assert slow.train_seconds == calm.train_seconds, "measured seconds are measured"


def test_a_client_that_answers_with_an_error_is_counted(tmp_path):
    def failing(message, context, call_next):
        if context.node_config["partition-id"] == 1:
            return Message(Error(code=1, reason="sensor unplugged"), reply_to=message)
        return call_next(message, context)

    outcome, _ = scripted.federate(run(rounds=2), UPDATE, INITIAL, tmp_path, [failing])
    assert clients_of(outcome, "failed") == [(1, 1), (2, 1)]
    assert (outcome.failed, outcome.lost) == (2, 0)
    rows = [r for r in outcome.history if r["phase"] == "failed"]
    assert all("sensor unplugged" in r["metrics"] and not r["uploaded"] for r in rows)


def test_a_client_that_raises_ends_the_run(tmp_path):
    def raising(message, context, call_next):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        scripted.federate(run(), UPDATE, INITIAL, tmp_path, [raising])


def test_cohorts_depend_on_the_seed_of_the_experiment(tmp_path):
    first, again, other = (
        clients_of(
            scripted.federate(run(cohort=3, clients=9, rounds=5, seed=s), UPDATE, INITIAL, tmp_path / k)[0], "train"
        )
        for k, s in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again
    assert first != other
    cohorts = {frozenset(client for t, client in first if t == number) for number in range(1, 6)}
    assert len(cohorts) > 1, "another cohort each round"
    assert all(len(cohort) == 3 for cohort in cohorts)
