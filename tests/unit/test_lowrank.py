"""Averaging LoRA factors: known answers of every way of aggregation, of ranks by tier, gateways and masked sums."""

import json

import numpy as np
import pytest
import scripted
import tiny
import torch

from fedbench.errors import FedbenchError
from fedbench.federation import lowrank, strategies
from fedbench.federation.grid import FIRST_NODE
from fedbench.models.loading import load
from fedbench.spec import FederationSpec, SecureSpec, StrategySpec
from fedbench.training.correction import split
from fedbench.training.examples import flows
from fedbench.training.loop import Trainer

MODULES = ("model.0.q", "model.1.v")
IN, OUT, RANK = 30, 24, 3
NAMES = {m: (f"{m}.lora_A.default.weight", f"{m}.lora_B.default.weight") for m in MODULES}


def factors(seed, rank=RANK):
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(shape).astype(np.float32)
        for a, b in NAMES.values()
        for name, shape in ((a, (rank, IN)), (b, (OUT, rank)))
    }


INITIAL = factors(0)


def update(client, number):
    return {name: 0.3 * value for name, value in factors(100 * number + client + 1).items()}


def run(name, rounds=1, clients=3, options=None, **federation):
    spec = FederationSpec(rounds=rounds, clients_per_round=clients, client_tier="local", **federation)
    used = {tier: tiny.REGISTRY.tiers[tier] for tier in [*spec.tiers, "gateway"]}
    return tiny.run(name, clients=clients, options=options, federation=spec, tiers=used)


def federate(spec, folder, change=update, initial=INITIAL, more=None):
    return scripted.federate(spec, change, initial, folder, more)


def dense(arrays):
    """What the adapter adds to each module's weight, without its scale."""
    total = {m: arrays[b].astype(np.float64) @ arrays[a].astype(np.float64) for m, (a, b) in NAMES.items()}
    for module in MODULES:
        prefix = f"{module}.correction."
        if f"{prefix}matrix" in arrays:
            total[module] = total[module] + arrays[f"{prefix}matrix"]
        elif f"{prefix}up" in arrays:
            total[module] = total[module] + arrays[f"{prefix}up"] @ arrays[f"{prefix}down"]
    return total


def mean_of_products(start, clients, number=1):
    """sum_i p_i B_i A_i by hand; client i holds i + 1 rows."""
    weights = np.arange(1, clients + 1) / sum(range(1, clients + 1))
    total = dict.fromkeys(MODULES, 0.0)
    for client, weight in enumerate(weights):
        trained = {name: start[name] + value for name, value in update(client, number).items()}
        for module, value in dense(trained).items():
            total[module] = total[module] + weight * value
    return total


def test_one_client_gets_the_same_model_from_every_aggregation(tmp_path):
    alone = dense({name: value + update(0, 1)[name] for name, value in INITIAL.items()})
    for kind in ("edge-fit", "edge-fit-stacked", "edge-fit-exact"):
        outcome, _ = federate(run(kind, clients=1), tmp_path / kind)
        for module, value in dense(outcome.arrays).items():
            np.testing.assert_allclose(value, alone[module], atol=1e-5)


@pytest.mark.parametrize("kind", ["edge-fit-stacked", "edge-fit-exact"])
def test_stacked_and_exact_are_the_mean_of_the_products_and_factors_are_not(tmp_path, kind):
    wanted = mean_of_products(INITIAL, 3)
    outcome, _ = federate(run(kind), tmp_path / kind)
    plain, _ = federate(run("edge-fit"), tmp_path / "plain")
    for module in MODULES:
        np.testing.assert_allclose(dense(outcome.arrays)[module], wanted[module], atol=1e-4)
        assert np.abs(dense(plain.arrays)[module] - wanted[module]).max() > 0.05


def test_a_correction_adds_up_over_rounds_and_becomes_a_matrix_when_that_is_smaller(tmp_path):
    first, _ = federate(run("edge-fit-exact", rounds=1), tmp_path / "1")
    assert split(first.arrays)[1]
    assert all(name.endswith((".up", ".down")) for name in split(first.arrays)[1])
    third, _ = federate(run("edge-fit-exact", rounds=3), tmp_path / "3")
    assert {name.rpartition(".")[2] for name in split(third.arrays)[1]} == {"matrix"}
    # Round by round: the correction stays, and what is averaged starts from the mean of the factors.
    state = dict(INITIAL)
    weights = np.array([1, 2, 3]) / 6
    kept = dict.fromkeys(MODULES, 0.0)
    for number in (1, 2, 3):
        trained = [{n: state[n] + v for n, v in update(c, number).items()} for c in range(3)]
        mean = {n: sum(w * t[n] for w, t in zip(weights, trained, strict=True)) for n in state}
        for module in MODULES:
            products = sum(w * dense(t)[module] for w, t in zip(weights, trained, strict=True))
            kept[module] = kept[module] + products - dense(mean)[module]
        state = mean
    for module in MODULES:
        np.testing.assert_allclose(third.arrays[f"{module}.correction.matrix"], kept[module], atol=1e-4)


def test_stacking_starts_every_round_with_factors_that_add_nothing(tmp_path):
    outcome, _ = federate(run("edge-fit-stacked", rounds=2), tmp_path)
    for a, b in NAMES.values():
        assert not outcome.arrays[b].any()
        assert np.abs(outcome.arrays[a]).max() <= IN**-0.5
        assert outcome.arrays[a].std() > 0.1


def test_equal_a_makes_the_mean_of_factors_exact():
    adapters = [factors(k) for k in range(3)]
    for adapter in adapters:
        adapter |= {a: adapters[0][a] for a, _ in NAMES.values()}
    assert lowrank.averaging_bias(adapters, [0.5, 0.25, 0.25]) == pytest.approx(0, abs=1e-7)


def test_bias_and_norm_are_those_of_the_full_matrices(tmp_path):
    adapters, weights = [factors(k) for k in range(4)], [0.1, 0.2, 0.3, 0.4]
    missed, whole = 0.0, 0.0
    for module, (a, b) in NAMES.items():
        product = sum(w * x[b] @ x[a] for w, x in zip(weights, adapters, strict=True))
        means = [sum(w * x[n] for w, x in zip(weights, adapters, strict=True)) for n in (b, a)]
        missed, whole = missed + np.sum((product - means[0] @ means[1]) ** 2), whole + np.sum(product**2)
        up, down = lowrank.mean_product(adapters, weights, (a, b))
        assert lowrank.norm((up, down)) == pytest.approx(np.linalg.norm(product), rel=1e-5), module
    assert lowrank.averaging_bias(adapters, weights) == pytest.approx((missed / whole) ** 0.5, rel=1e-4)
    outcome, _ = federate(run("edge-fit"), tmp_path)
    (told,) = [json.loads(r["metrics"]) for r in outcome.history if r["client"] < 0 and r["round"] == 1]
    assert 0 < told["averaging-bias"] < 1.5


# --- in a real model ---


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


def trainer(place, frozen=""):
    spec = tiny.run().training
    return Trainer(load(tiny.snapshot(place), "classify", spec, ["Benign", "DDoS"], 0), spec, frozen)


def test_a_correction_is_what_merging_it_into_the_base_would_be(place):
    mine, merged = trainer(place), trainer(place)
    arrays = mine.arrays()
    texts = flows(mine.loaded.tokenizer, ["tcp http SF packets=3", "udp - S0"], [0, 1], 64)
    before = mine.logits(texts)
    rng, correction = np.random.default_rng(0), {}
    for k, module in enumerate(sorted(lowrank.pairs(list(arrays)))):
        layer = merged.loaded.model.get_submodule(module)
        out, inside = layer.base_layer.weight.shape
        up, down = (rng.standard_normal(s).astype(np.float32) for s in ((out, 2), (2, inside)))
        parts = {"up": up, "down": down} if k % 2 else {"matrix": up @ down}
        correction |= {f"{module}.correction.{name}": value for name, value in parts.items()}
        layer.base_layer.weight.data += layer.scaling["default"] * torch.from_numpy(up @ down)
    mine.load(arrays | correction)
    np.testing.assert_allclose(mine.logits(texts), merged.logits(texts), atol=1e-4)
    assert np.abs(mine.logits(texts) - before).max() > 1e-3
    assert mine.state().keys() == {**arrays, **correction}.keys()
    mine.load(arrays)  # and it goes away again
    np.testing.assert_allclose(mine.logits(texts), before, atol=1e-6)


def test_frozen_factors_do_not_move_and_do_not_travel(place):
    mine = trainer(place, strategies.frozen(tiny.REGISTRY.strategies["edge-fit-ffa"]))
    start = mine.state()
    assert not any(lowrank.A in name for name in mine.arrays())
    examples = flows(mine.loaded.tokenizer, ["tcp http SF", "udp - S0"] * 8, [0, 1] * 8, 64)
    mine.train(examples, 2, (0, 0))
    after = mine.state()
    assert start.keys() == after.keys()
    for name, value in start.items():
        assert np.array_equal(after[name], value) == (lowrank.A in name), name
    mine.load(start)  # a finished adapter holds the frozen part as well
    np.testing.assert_array_equal(mine.state()[next(iter(start))], start[next(iter(start))])


# --- ranks by tier ---


def test_clients_of_a_lower_rank_send_and_receive_less_and_what_they_lack_is_the_others_mean(tmp_path):
    tiers = {"edge": 1, "gateway": 2}
    spec = run("edge-fit-ranks", options={"ranks": {"edge": 1}}, tiers=tiers)
    outcome, grid = federate(spec, tmp_path)
    sizes = {e.client: e.bytes_down for e in grid.exchanges}
    assert sizes[0] < sizes[1] == sizes[2]
    ups = {e.client: e.bytes_up for e in grid.exchanges}
    assert ups[0] < ups[1]
    weights = np.array([1, 2, 3]) / 6
    for a, b in NAMES.values():
        moves = [update(c, 1) for c in range(3)]
        first = sum(w * m[a][0] for w, m in zip(weights, moves, strict=True))
        rest = sum(w * m[a][1:] for w, m in zip(weights[1:], moves[1:], strict=True)) / weights[1:].sum()
        np.testing.assert_allclose(outcome.arrays[a][0] - INITIAL[a][0], first, atol=1e-5)
        np.testing.assert_allclose(outcome.arrays[a][1:] - INITIAL[a][1:], rest, atol=1e-5)
        rest = sum(w * m[b][:, 1:] for w, m in zip(weights[1:], moves[1:], strict=True)) / weights[1:].sum()
        np.testing.assert_allclose(outcome.arrays[b][:, 1:] - INITIAL[b][:, 1:], rest, atol=1e-5)


def test_zero_padding_is_the_same_as_a_smaller_adapter(place):
    """A component whose A and B are zero gets no gradient."""
    mine = trainer(place)
    arrays = mine.arrays()
    small = {n: v.copy() for n, v in arrays.items()}
    for name, value in small.items():
        if lowrank.A in name:
            value[2:] = 0
        elif lowrank.B in name:
            value[:, 2:] = 0
    mine.load(small)
    examples = flows(mine.loaded.tokenizer, ["tcp http SF", "udp - S0"] * 8, [0, 1] * 8, 64)
    mine.train(examples, 3, (0, 0))
    moved = mine.arrays()
    for name in small:
        if lowrank.A in name:
            assert not moved[name][2:].any()
        elif lowrank.B in name:
            assert not moved[name][:, 2:].any()
            assert moved[name][:, :2].any()


# --- homes, gateways, cloud ---


def test_a_hierarchy_that_meets_every_round_is_flat_and_one_that_does_not_saves_versions(tmp_path):
    flat, _ = federate(run("edge-fit", rounds=2), tmp_path / "flat")
    every, _ = federate(run("edge-fit-homes", rounds=2, options={"gateways": 2, "every": 1}), tmp_path / "every")
    for name, value in flat.arrays.items():
        np.testing.assert_allclose(every.arrays[name], value, atol=1e-5)
    size = sum(value.nbytes for value in INITIAL.values())
    assert flat.bytes_cloud == 0
    assert every.bytes_cloud == 2 * 2 * 2 * size, "two gateways, both ways, two rounds"
    seldom, _ = federate(run("edge-fit-homes", rounds=3, options={"gateways": 2, "every": 2}), tmp_path / "seldom")
    versions = [r["round"] for r in seldom.history if r["client"] < 0 and r["phase"] == "validation"]
    assert versions == [0, 2, 3], "the last round ends in a version whatever its number"
    assert seldom.bytes_cloud == 2 * 2 * 2 * size


def test_every_gateway_goes_on_from_its_own_clients(tmp_path):
    outcome, _ = federate(run("edge-fit-homes", rounds=2, options={"gateways": 3, "every": 2}), tmp_path)
    # Each gateway has one client, so its model is that client's; the cloud weighs by the examples of both rounds.
    weights = np.array([1, 2, 3]) / 6
    for name, value in INITIAL.items():
        moves = [update(c, 1)[name] + update(c, 2)[name] for c in range(3)]
        wanted = value + sum(w * m for w, m in zip(weights, moves, strict=True))
        np.testing.assert_allclose(outcome.arrays[name], wanted, atol=1e-5)


# --- masked sums ---


def test_secure_aggregation_gives_the_plain_mean_and_shows_the_server_nothing_else(tmp_path):
    plain, _ = federate(run("edge-fit", rounds=2), tmp_path / "plain")
    spec = run("edge-fit-secure", rounds=2).model_copy(
        update={
            "strategy": tiny.REGISTRY.strategies["edge-fit-secure"].model_copy(
                update={"secure": SecureSpec(range=4, max_examples=3)}
            )
        }
    )
    outcome, grid = federate(spec, tmp_path / "secure")
    again, _ = federate(spec, tmp_path / "again")
    for name, value in plain.arrays.items():
        np.testing.assert_allclose(outcome.arrays[name], value, atol=1e-4)
        np.testing.assert_array_equal(outcome.arrays[name], again.arrays[name])
    assert len(grid.exchanges) == 2 * 4 * 3, "four stages"
    rows = [r for r in outcome.history if r["client"] >= 0]
    assert len(rows) == 6, "one row a client and round, whatever the protocol takes"
    assert sum(r["bytes_up"] for r in rows) == outcome.bytes_up == sum(e.bytes_up for e in grid.exchanges)
    assert outcome.bytes_up > plain.bytes_up
    assert all("secagg" not in key.lower() for context in grid.contexts.values() for key in context.state)


def test_what_a_lost_client_masked_is_taken_off_by_the_shares_of_the_others(tmp_path):
    spec = run("edge-fit-secure", rounds=4, clients=5, dropout=0.3)
    plain = run("edge-fit", rounds=4, clients=5, dropout=0.3)
    outcome, _ = federate(spec, tmp_path / "secure")
    wanted, _ = federate(plain, tmp_path / "plain")
    assert outcome.lost == wanted.lost > 0
    for name, value in wanted.arrays.items():
        # Entries beyond the range are clipped; those within come back to the step of the quantisation.
        assert np.median(np.abs(outcome.arrays[name] - value)) < 1e-3


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"kind": "edge_fit", "options": {"aggregation": "exact"}, "secure": {}}, "each client's factors"),
        ({"kind": "edge_fit", "options": {"aggregation": "stacked"}, "privacy": {}}, "each client's factors"),
        ({"kind": "edge_fit", "options": {"ranks": {"edge": 2}}, "compression": {"kind": "int8"}}, "ranks"),
        ({"kind": "edge_fit", "secure": {}, "compression": {"kind": "int8"}}, "neither unpack nor clip"),
        ({"kind": "edge_fit", "secure": {}, "privacy": {}}, "neither unpack nor clip"),
        ({"kind": "gsfs", "secure": {}}, "when to upload"),
        ({"kind": "hierarchical", "secure": {}}, "gateways average"),
    ],
)
def test_combinations_that_mean_nothing_are_refused(spec, words):
    with pytest.raises(FedbenchError, match=words):
        strategies.check(StrategySpec(name="x", title="x", **spec))


def test_a_client_with_more_rows_than_secure_aggregation_expects_is_an_error(tmp_path):
    strategy = tiny.REGISTRY.strategies["edge-fit-secure"].model_copy(update={"secure": SecureSpec(max_examples=2)})
    with pytest.raises(FedbenchError, match="max_examples"):
        federate(run("edge-fit-secure").model_copy(update={"strategy": strategy}), tmp_path)


def test_nodes_are_clients_of_their_tier():
    spec = run("edge-fit-ranks", tiers={"edge": 1, "gateway": 2})
    known = strategies.population(spec, [1, 1, 1])
    assert [known.tier_of(FIRST_NODE + k) for k in range(3)] == ["edge", "gateway", "gateway"]
    assert spec.tier_of(0).title != spec.tier_of(2).title
