"""Client-level DP-FedAvg: what is clipped, how much noise arrives, and what epsilon it is accounted with."""

import json
import math

import dp_accounting
import numpy as np
import pytest
import scripted
import tiny

from fedbench.errors import FedbenchError
from fedbench.federation import simulation, strategies
from fedbench.federation.conditions import Conditions
from fedbench.federation.privacy import Accountant, clip, l2_norm
from fedbench.procedures.common import federated_usage
from fedbench.spec import CompressionSpec, FederationSpec, PrivacySpec

SHAPES = ((20, 10), (30,))
INITIAL = scripted.normal(*SHAPES, seed=5)


def run(privacy, strategy="fedavg", rounds=2, cohort=3, clients=3, **federation):
    spec = tiny.REGISTRY.strategies[strategy].model_copy(update={"privacy": privacy})
    federation = FederationSpec(rounds=rounds, clients_per_round=cohort, client_tier="local", **federation)
    return tiny.run(strategy, clients=clients, federation=federation).model_copy(update={"strategy": spec})


def still(client, number):
    return {name: np.zeros_like(value) for name, value in INITIAL.items()}


# --- clipping ---


def test_the_whole_update_is_clipped_not_each_parameter():
    update = {"a": np.array([3.0, 0.0], np.float32), "b": np.array([4.0], np.float32)}
    assert l2_norm(update) == 5.0
    clipped = clip(update, 1.0)
    assert clipped["a"].tolist() == pytest.approx([0.6, 0.0])
    assert clipped["b"].tolist() == pytest.approx([0.8])
    assert l2_norm(clipped) == pytest.approx(1.0, abs=1e-6)


def test_an_update_below_the_bound_and_an_update_of_nothing_stay_as_they_are():
    small = {"a": np.array([0.3, 0.4], np.float32)}
    assert clip(small, 1.0)["a"].tolist() == small["a"].tolist()
    assert clip({"a": np.zeros(3, np.float32)}, 1.0)["a"].tolist() == [0.0] * 3


@pytest.mark.parametrize("strategy", ["fedavg", "edge-fit"])
@pytest.mark.parametrize("side", ["server", "client"])
def test_without_noise_the_release_is_the_uniform_mean_of_clipped_updates(tmp_path, strategy, side):
    """Uniform, although client i holds i + 1 rows: a weight that depends on the data would have to be private too."""
    update = scripted.drawn(*SHAPES)
    privacy = PrivacySpec(clip=0.5, noise_multiplier=0.0, side=side)
    outcome, _ = scripted.federate(run(privacy, strategy, rounds=1), update, INITIAL, tmp_path)
    clipped = [clip(update(client, 1), 0.5) for client in range(3)]
    for name, start in INITIAL.items():
        mean = sum(c[name] for c in clipped) / 3
        np.testing.assert_allclose(outcome.arrays[name] - start, mean, rtol=0, atol=1e-6)
    assert outcome.privacy["epsilon"] is None, "no noise, no guarantee"


# --- noise ---


@pytest.mark.parametrize("strategy", ["fedavg", "edge-fit"])
@pytest.mark.parametrize("side", ["server", "client"])
def test_the_mean_carries_noise_of_sigma_c_over_m(tmp_path, strategy, side):
    large = ((400, 100),)
    zeros = {"p0": np.zeros(large[0], np.float32)}
    privacy = PrivacySpec(clip=0.5, noise_multiplier=3.0, side=side)
    outcome, _ = scripted.federate(run(privacy, strategy, rounds=1), lambda *_: zeros, zeros, tmp_path)
    noise = outcome.arrays["p0"]
    assert noise.std() == pytest.approx(3.0 * 0.5 / 3, rel=0.02)
    assert abs(noise.mean()) < 0.01


@pytest.mark.parametrize("side", ["server", "client"])
def test_noise_on_the_mean_over_the_replies_that_arrived(tmp_path, side):
    """Of three, k = 2 arrive: the server adds sigma C / k; the clients' own shares of sigma C / sqrt(3) average out."""
    zeros = {"p0": np.zeros((400, 100), np.float32)}
    spec = run(PrivacySpec(clip=0.5, noise_multiplier=3.0, side=side), rounds=1, dropout=0.4)
    seed = next(s for s in range(99) if sum(Conditions(spec.federation, s, 3).lost(1, i) for i in range(3)) == 1)
    outcome, _ = scripted.federate(spec.model_copy(update={"seed": seed}), lambda *_: zeros, zeros, tmp_path)
    wanted = 3.0 * 0.5 / 2 if side == "server" else 3.0 * 0.5 / math.sqrt(3) / math.sqrt(2)
    assert outcome.arrays["p0"].std() == pytest.approx(wanted, rel=0.02)


def test_noise_repeats_with_the_seed_and_differs_between_seeds_and_rounds(tmp_path):
    spec = run(PrivacySpec(), rounds=1)
    first, again, other, longer = (
        scripted.federate(s, still, INITIAL, tmp_path / str(k))[0].arrays["p0"]
        for k, s in enumerate([spec, spec, spec.model_copy(update={"seed": 1}), run(PrivacySpec(), rounds=2)])
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert not np.allclose(longer - first, first - INITIAL["p0"]), "the second round draws other noise"


def test_a_server_optimiser_sees_nothing_but_the_private_mean(tmp_path):
    """Two runs whose clients differ but whose clipped means agree end with the same weights under FedAdam."""
    change = {name: np.full_like(value, 0.001) for name, value in INITIAL.items()}

    def alike(client, number):
        return change

    def apart(client, number):
        return {name: value * [0.5, 1.0, 1.5][client] for name, value in change.items()}

    privacy = PrivacySpec(clip=1.0, noise_multiplier=0.5)
    left, right = (
        scripted.federate(run(privacy, "fedadam"), update, INITIAL, tmp_path / update.__name__)[0].arrays
        for update in (alike, apart)
    )
    for name in INITIAL:
        np.testing.assert_allclose(left[name], right[name], rtol=0, atol=1e-6)
        assert not np.allclose(left[name], INITIAL[name], atol=1e-4)


# --- accounting ---


@pytest.mark.parametrize("sigma", [2.0, 8.0])
@pytest.mark.parametrize("rounds", [1, 10])
def test_epsilon_of_full_participation_is_the_renyi_bound_of_the_gaussian(sigma, rounds):
    """By hand: RDP(a) = T a / 2s^2 with s = sigma / 2, turned into epsilon as Canonne et al. (2020) do."""
    accountant = Accountant(10)
    accountant.add(sigma, 10, rounds)
    orders = np.concatenate([1 + np.arange(1, 100) / 10, np.arange(11, 64)])
    renyi = rounds * orders / (2 * (sigma / 2) ** 2)
    by_hand = (renyi + np.log1p(-1 / orders) - np.log(1e-3 * orders) / (orders - 1)).min()
    assert accountant.epsilon(1e-3) == pytest.approx(by_hand, rel=1e-9)
    exact = dp_accounting.get_epsilon_gaussian(sigma / 2 / math.sqrt(rounds), 1e-3)  # Balle and Wang (2018)
    assert exact <= by_hand <= 1.25 * exact


def test_epsilon_grows_with_rounds_and_shrinks_with_noise_and_with_sampling():
    def epsilon(sigma=2.0, count=5, rounds=3, clients=5):
        accountant = Accountant(clients)
        accountant.add(sigma, count, rounds)
        return accountant.epsilon(1e-3)

    assert epsilon(rounds=1) < epsilon(rounds=3) < epsilon(rounds=30)
    assert epsilon(sigma=4.0) < epsilon(sigma=2.0)
    assert epsilon(clients=1000) < epsilon(clients=20) < epsilon(clients=5)


def test_epsilon_of_a_sampled_round_is_at_most_that_of_all_clients():
    """The bound for sampling without replacement alone would be 51.4 here, above the 47.9 of no sampling at all."""
    sampled, whole = Accountant(10), Accountant(10)
    sampled.add(0.5, 5, 3)
    whole.add(0.5, 10, 3)
    assert sampled.epsilon(1e-3) == pytest.approx(whole.epsilon(1e-3)) == pytest.approx(47.91, abs=0.01)


def test_releases_one_by_one_cost_what_they_cost_together():
    one, many = Accountant(10), Accountant(10)
    one.add(2.0, 5, 2)
    for _ in range(2):
        many.add(2.0, 5)
    assert one.epsilon(1e-3) == pytest.approx(many.epsilon(1e-3))


def test_every_round_and_the_usage_tell_epsilon(tmp_path):
    privacy = PrivacySpec(clip=0.5, noise_multiplier=2.0, delta=1e-2)
    outcome, _ = scripted.federate(run(privacy, rounds=3, cohort=2), still, INITIAL, tmp_path)
    told = [json.loads(r["metrics"])["epsilon"] for r in outcome.history if r["client"] == -1 and r["round"]]
    assert len(told) == 3
    assert told == sorted(told)
    accountant = Accountant(3)
    accountant.add(2.0, 2, 3)
    assert told[-1] == pytest.approx(accountant.epsilon(1e-2))
    usage = federated_usage(outcome)["privacy"]
    assert {k: usage[k] for k in ("epsilon", "delta", "noise_multiplier", "clip")} == {
        "epsilon": told[-1],
        "delta": 1e-2,
        "noise_multiplier": 2.0,
        "clip": 0.5,
    }
    assert "2 of 3 clients a round without replacement" in usage["scheme"]


@pytest.mark.parametrize("side", ["server", "client"])
def test_lost_replies_leave_fewer_to_hide_among(tmp_path, side):
    """The mean over k < m that arrived: the server's noise is for k, the clients' is short of what was lost."""
    privacy = PrivacySpec(clip=0.5, noise_multiplier=2.0, side=side)
    outcome, _ = scripted.federate(run(privacy, rounds=4, dropout=0.4), still, INITIAL, tmp_path)
    accountant, counts = Accountant(3), []
    for number in range(1, 5):
        count = sum(r["phase"] == "train" for r in outcome.history if r["round"] == number and r["client"] >= 0)
        counts.append(count)
        if count:
            accountant.add(2.0 if side == "server" else 2.0 * math.sqrt(count / 3), count)
    assert len(set(counts)) > 1, "the case needs rounds of different sizes"
    assert outcome.privacy["epsilon"] == pytest.approx(accountant.epsilon(1e-3))


def test_a_resumed_run_ends_with_the_same_weights_and_epsilon(tmp_path):
    spec, update = run(PrivacySpec(noise_multiplier=2.0), rounds=4), scripted.drawn(*SHAPES)
    whole = scripted.federate(spec, update, INITIAL, tmp_path / "whole")[0]
    scripted.killed_at(3, spec, update, INITIAL, tmp_path / "cut")
    resumed = scripted.federate(spec, update, INITIAL, tmp_path / "cut")[0]
    assert resumed.privacy["epsilon"] == pytest.approx(whole.privacy["epsilon"])
    for name, value in whole.arrays.items():
        np.testing.assert_array_equal(resumed.arrays[name], value)


# --- what is refused, and what goes together ---


@pytest.mark.parametrize(
    ("strategy", "changes", "said"),
    [
        ("gsfs", {"privacy": PrivacySpec()}, "decide from their data"),
        (
            "fedavg",
            {"privacy": PrivacySpec(side="client"), "compression": CompressionSpec(kind="int8")},
            "does not survive compression",
        ),
    ],
)
def test_what_would_void_the_guarantee_is_refused(strategy, changes, said):
    with pytest.raises(FedbenchError, match=said):
        strategies.check(tiny.REGISTRY.strategies[strategy].model_copy(update=changes))


def test_compressed_updates_are_clipped_after_they_are_unpacked(tmp_path):
    """Error feedback makes an upload larger than what was trained, so the bound has to hold on what arrives."""
    spec = run(PrivacySpec(clip=0.5, noise_multiplier=0.0), rounds=3)
    compressed = spec.strategy.model_copy(update={"compression": CompressionSpec(kind="topk", keep=0.1)})
    seen, release = [], simulation.privacy.PrivateMean.release

    def spy(self, number, current, replies):
        answer = release(self, number, current, replies)
        arrived = scripted.to_numpy(answer[0].content["arrays"])
        seen.append(l2_norm({name: arrived[name] - value for name, value in current.items()}))
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation.privacy.PrivateMean, "release", spy)
        scripted.federate(spec.model_copy(update={"strategy": compressed}), scripted.drawn(*SHAPES), INITIAL, tmp_path)
    assert len(seen) == 3
    assert all(0.1 < norm <= 0.5 + 1e-5 for norm in seen)
