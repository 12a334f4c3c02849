"""Compressed uploads: known answers of the codec, what error feedback conserves, and the bytes on the wire."""

import numpy as np
import pytest
import scripted
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.errors import FedbenchError
from fedbench.federation import strategies
from fedbench.federation.arrays import to_numpy
from fedbench.federation.compression import pack, unpack
from fedbench.spec import CompressionSpec, FederationSpec

TOPK = CompressionSpec(kind="topk", keep=0.5)
INT8 = CompressionSpec(kind="int8")


def shapes(arrays):
    return {name: value.shape for name, value in arrays.items()}


def test_topk_keeps_the_largest_entries_of_the_whole_update():
    update = {"b": np.array([[0.1, -4.0]], np.float32), "a": np.array([3.0, 0.2, -1.0], np.float32)}
    packed = pack(update, TOPK, 2)
    # In the order of the names: a = (3, .2, -1), b = (.1, -4).
    assert packed["indices"].tolist() == [0, 4]
    assert packed["indices"].dtype == np.int32
    assert packed["values"].tolist() == [3.0, -4.0]
    back = unpack(packed, shapes(update))
    assert back["a"].tolist() == [3.0, 0.0, 0.0]
    assert back["b"].tolist() == [[0.0, -4.0]]


def test_topk_of_everything_is_lossless_and_sends_no_indices():
    update = scripted.normal((3, 4), (5,), ())
    packed = pack(update, CompressionSpec(kind="topk", keep=1.0))
    assert packed.keys() == {"values"}
    for name, value in unpack(packed, shapes(update)).items():
        np.testing.assert_array_equal(value, update[name])


def test_int8_spends_a_byte_an_entry_and_a_scale_a_parameter():
    update = {"a": np.array([-1.27, 0.0, 0.635], np.float32), "zero": np.zeros(4, np.float32)}
    packed = pack(update, INT8)
    assert (packed["levels"].nbytes, packed["scales"].nbytes) == (7, 8)
    assert packed["levels"].tolist() == [-127, 0, 64, 0, 0, 0, 0]
    assert packed["scales"] == pytest.approx([0.01, 0.0])
    assert unpack(packed, shapes(update))["zero"].tolist() == [0.0] * 4


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20), min_size=1, max_size=4))
def test_int8_is_off_by_half_a_scale_at_most(rows):
    update = {f"p{k}": np.array(row, np.float32) for k, row in enumerate(rows)}
    packed = pack(update, INT8)
    back = unpack(packed, shapes(update))
    for scale, name in zip(packed["scales"], sorted(update), strict=True):
        error = np.abs(back[name].astype(np.float64) - update[name]).max()
        assert error <= float(scale) * 0.5 * (1 + 1e-4) + 1e-37  # float32 has its own last digit


# --- in a run ---

SHAPES = ((20, 10), (30,), (7, 7))
SIZE = 200 + 30 + 49
INITIAL = scripted.normal(*SHAPES, seed=5)


def run(strategy, compression=None, rounds=4, **changes):
    spec = tiny.REGISTRY.strategies[strategy].model_copy(update={"compression": compression, **changes})
    federation = FederationSpec(rounds=rounds, clients_per_round=3, client_tier="local")
    return tiny.run(strategy, federation=federation).model_copy(update={"strategy": spec})


@pytest.mark.parametrize("strategy", ["fedavg", "edge-fit", "fedadam"])
def test_keeping_everything_changes_no_weight(tmp_path, strategy):
    update = scripted.drawn(*SHAPES)
    plain = scripted.federate(run(strategy), update, INITIAL, tmp_path)[0]
    packed = scripted.federate(run(strategy, CompressionSpec(kind="topk", keep=1.0)), update, INITIAL, tmp_path)[0]
    for name, value in plain.arrays.items():
        np.testing.assert_allclose(packed.arrays[name], value, rtol=0, atol=2e-6)


@pytest.mark.parametrize("strategy", ["fedavg", "edge-fit"])
@pytest.mark.parametrize("compression", [CompressionSpec(kind="topk", keep=0.1), INT8], ids=["topk", "int8"])
def test_error_feedback_conserves_the_sum_of_all_updates(tmp_path, strategy, compression):
    """What arrived over the rounds plus what the clients still hold back is what they trained."""
    update = scripted.drawn(*SHAPES)
    outcome, grid = scripted.federate(run(strategy, compression), update, INITIAL, tmp_path)
    total = sum(range(1, 4))
    for name, start in INITIAL.items():
        trained = sum((c + 1) / total * update(c, t)[name] for c in range(3) for t in range(1, 5))
        held = sum(
            (c + 1) / total * to_numpy(context.state["residual-next"])[name]
            for c, context in enumerate(grid.contexts.values())
        )
        np.testing.assert_allclose(outcome.arrays[name] - start + held, trained, rtol=0, atol=1e-5)
        assert np.abs(held).max() > 1e-3, "something was held back"


def test_without_error_feedback_nothing_is_held_back(tmp_path):
    compression = CompressionSpec(kind="topk", keep=0.1, error_feedback=False)
    _, grid = scripted.federate(run("fedavg", compression), scripted.drawn(*SHAPES), INITIAL, tmp_path)
    assert all(context.state.keys() == {"local"} for context in grid.contexts.values())


def test_an_update_that_replaces_another_does_not_hold_its_residual_twice(tmp_path):
    """GSFS: a second upload on one version is the whole difference again: the residual of the first must not count."""
    compression = CompressionSpec(kind="topk", keep=0.1)
    options = {"local_steps": 1, "quorum": 1.0, "gradient_trigger": False, "performance_trigger": False}
    two = tiny.run("gsfs", clients=2, options={**options, "max_silence": 1})
    spec = two.strategy.model_copy(update={"compression": compression})
    federation = FederationSpec(rounds=2, clients_per_round=2, client_tier="local")
    two = two.model_copy(update={"strategy": spec, "federation": federation})

    def silent_at_first(message, context, call_next):
        """Client 1 does not reach the server in the first tick, so client 0 uploads twice on version 0."""
        reply = call_next(message, context)
        if context.node_config["partition-id"] == 1 and message.content["config"]["server-round"] == 1:
            reply.content["arrays"].clear()
            reply.content["metrics"]["uploaded"] = 0
        return reply

    update = scripted.drawn(*SHAPES)
    outcome, grid = scripted.federate(two, update, INITIAL, tmp_path, [silent_at_first])
    assert len(outcome.clock.versions) == 1
    residual = to_numpy(grid.contexts[1000].state["residual-next"])
    difference = {name: update(0, 1)[name] + update(0, 2)[name] for name in INITIAL}
    arrived = unpack(pack(difference, compression, 28), shapes(difference))  # a tenth of 279 entries
    for name in INITIAL:
        np.testing.assert_allclose(residual[name], difference[name] - arrived[name], rtol=0, atol=1e-6)


def test_bytes_on_the_wire_are_those_of_the_packed_form(tmp_path):
    """Eight bytes more for each entry more; a byte an entry for int8; nothing else differs but length fields."""
    update, sent = scripted.drawn(*SHAPES), {}
    for keep in (0.1, 0.5):
        _, grid = scripted.federate(run("fedavg", CompressionSpec(kind="topk", keep=keep)), update, INITIAL, tmp_path)
        sent[keep] = {exchange.bytes_up for exchange in grid.exchanges}
    few, many = int(np.ceil(0.1 * SIZE)), int(np.ceil(0.5 * SIZE))
    assert max(sent[0.5]) - min(sent[0.1]) == pytest.approx(8 * (many - few), abs=16)
    _, grid = scripted.federate(run("fedavg", INT8), update, INITIAL, tmp_path)
    envelope = min(sent[0.1]) - 8 * few
    int8 = min(exchange.bytes_up for exchange in grid.exchanges)
    assert int8 - envelope == pytest.approx(SIZE + 4 * len(SHAPES), abs=16)
    assert {e.bytes_down for e in grid.exchanges} == {
        e.bytes_down for e in scripted.federate(run("fedavg"), update, INITIAL, tmp_path)[1].exchanges
    }, "only uploads are compressed"


@pytest.mark.parametrize("up_mbit", [1.0, 2.0])
def test_adaptive_topk_fills_what_the_link_carries_and_no_more(tmp_path, up_mbit):
    seconds, large = 0.02, ((200, 50),)
    compression = CompressionSpec(kind="topk", keep=1.0, seconds=seconds)
    slow = run("fedavg", compression, rounds=2)
    slow = slow.model_copy(update={"client_tier": slow.client_tier.model_copy(update={"up_mbit": up_mbit})})
    _, grid = scripted.federate(slow, scripted.drawn(*large), scripted.normal(*large), tmp_path)
    budget = seconds * up_mbit * 1e6 / 8
    for exchange in grid.exchanges:
        assert budget - 100 <= exchange.bytes_up <= budget


def test_adaptive_topk_never_keeps_more_than_asked(tmp_path):
    fixed, adaptive = (CompressionSpec(kind="topk", keep=0.1, seconds=s) for s in (None, 1000.0))
    update = scripted.drawn(*SHAPES)
    left = scripted.federate(run("fedavg", fixed), update, INITIAL, tmp_path)[1].exchanges
    right = scripted.federate(run("fedavg", adaptive), update, INITIAL, tmp_path)[1].exchanges
    assert [e.bytes_up for e in left] == [e.bytes_up for e in right]


def test_gsfs_uploads_of_some_layers_are_packed_and_found_again(tmp_path):
    """Only the parameter whose norm jumped goes up; the server knows which one it was."""
    names = ("model.layer.0.weight", "model.layer.1.weight")
    initial = {name: np.zeros(50, np.float32) for name in names}

    def update(client, number):
        jump = {names[0]: 1.0, names[1]: 1.0 if number < 3 else 100.0}
        return {name: np.full(50, value, np.float32) for name, value in jump.items()}

    def as_blocks(message, context, call_next):
        """Name the norms by block, as the trainer does."""
        reply = call_next(message, context)
        metrics = reply.content["metrics"]
        for name in names:
            metrics[f"norm/{name.removeprefix('model.').removesuffix('.weight')}"] = metrics.pop(f"norm/{name}")
        return reply

    options = {"local_steps": 1, "quorum": 1.0, "performance_trigger": False, "max_silence": 0, "payload": "layers"}
    spec = run("gsfs", CompressionSpec(kind="topk", keep=1.0), rounds=3, options=options)
    grid = scripted.InProcessGrid(scripted.client_app(update, [*scripted.client_mods(spec), as_blocks]), 3)
    checkpoint = scripted.Checkpoint(tmp_path / "run.safetensors", spec.folder)
    outcome = scripted.simulate(spec, scripted.OneStep(), initial, lambda _: (0.0, 0.0), checkpoint, grid=grid)
    assert len(outcome.clock.versions) == 1
    np.testing.assert_array_equal(outcome.arrays[names[0]], initial[names[0]])
    np.testing.assert_allclose(outcome.arrays[names[1]], 102.0)  # 1 + 1 + 100


def test_residual_survives_a_checkpoint(tmp_path):
    spec, update = run("fedavg", CompressionSpec(kind="topk", keep=0.1)), scripted.drawn(*SHAPES)
    whole = scripted.federate(spec, update, INITIAL, tmp_path / "whole")[0]
    scripted.killed_at(3, spec, update, INITIAL, tmp_path / "cut")
    resumed = scripted.federate(spec, update, INITIAL, tmp_path / "cut")[0]
    for name, value in whole.arrays.items():
        np.testing.assert_array_equal(resumed.arrays[name], value)


def test_int8_of_a_given_duration_is_refused():
    spec = tiny.REGISTRY.strategies["fedavg"].model_copy(
        update={"compression": CompressionSpec(kind="int8", seconds=1.0)}
    )
    with pytest.raises(FedbenchError, match="seconds"):
        strategies.check(spec)
