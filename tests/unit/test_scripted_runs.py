"""Whole runs over clients whose updates are written down: limits of GSFS, exact bytes, and going on after a kill."""

import json

import numpy as np
import pytest
import scripted
import tiny

from fedbench.spec import FederationSpec

NAMES = ("model.layer.1.weight", "model.layer.0.weight")  # not in the order of their names, as in a real model
INITIAL = dict(zip(NAMES, scripted.normal((6, 4), (5,), seed=5).values(), strict=True))


def update(client, number):
    return dict(zip(NAMES, scripted.normal((6, 4), (5,), seed=100 * number + client).values(), strict=True))


def run(strategy, options=None, rounds=6, cohort=3, clients=3):
    federation = FederationSpec(rounds=rounds, clients_per_round=cohort, client_tier="local")
    return tiny.run(strategy, clients=clients, options=options, federation=federation)


def rows(outcome, client=None):
    return [r for r in outcome.history if r["round"] and (r["client"] == -1 if client is None else r["client"] >= 0)]


# --- GSFS at its limits ---

ALWAYS = {"performance_factor": -np.inf, "gradient_lambda": -np.inf, "local_steps": 1}


def test_gsfs_with_all_thresholds_gone_and_a_full_quorum_is_synchronous_fedavg(tmp_path):
    gsfs, _ = scripted.federate(
        run("gsfs", {**ALWAYS, "quorum": 1.0, "weights": "samples"}), update, INITIAL, tmp_path / "gsfs"
    )
    fedavg, _ = scripted.federate(run("fedavg"), update, INITIAL, tmp_path / "fedavg")
    assert len(gsfs.clock.versions) == 6, "a version a tick"
    for name, value in fedavg.arrays.items():
        np.testing.assert_allclose(gsfs.arrays[name], value, rtol=0, atol=1e-6)


def test_gsfs_with_a_full_quorum_waits_for_every_client(tmp_path):
    """Clients fall silent by turns, so that no tick brings all three: a version needs each of them once."""

    def by_turns(message, context, call_next):
        reply = call_next(message, context)
        if context.node_config["partition-id"] == message.content["config"]["server-round"] % 3:
            reply.content["arrays"].clear()
            reply.content["metrics"]["uploaded"] = 0
        return reply

    outcome, _ = scripted.federate(run("gsfs", {**ALWAYS, "quorum": 1.0}), update, INITIAL, tmp_path, [by_turns])
    pooled = [json.loads(r["metrics"])["pool"] for r in rows(outcome)]
    assert pooled == [2, 3, 2, 3, 2, 3]
    assert [r["phase"] for r in rows(outcome)] == ["server", "validation"] * 3


def test_gsfs_without_triggers_uploads_when_silent_for_long_enough_or_never(tmp_path):
    still = {"performance_trigger": False, "gradient_trigger": False, "local_steps": 1}
    spoken, _ = scripted.federate(run("gsfs", {**still, "max_silence": 3}), update, INITIAL, tmp_path / "3")
    assert [r["round"] for r in rows(spoken) if r["phase"] == "validation"] == [3, 6]
    never, _ = scripted.federate(run("gsfs", {**still, "max_silence": 0}), update, INITIAL, tmp_path / "0")
    assert never.clock.versions == []
    for name, value in INITIAL.items():
        np.testing.assert_array_equal(never.arrays[name], value)


def test_gsfs_ends_honestly_below_its_quorum(tmp_path):
    def only_the_first(message, context, call_next):
        reply = call_next(message, context)
        if context.node_config["partition-id"]:
            reply.content["arrays"].clear()
            reply.content["metrics"]["uploaded"] = 0
        return reply

    outcome, _ = scripted.federate(run("gsfs", ALWAYS), update, INITIAL, tmp_path, [only_the_first])
    assert outcome.clock.versions == []
    assert "1 pooled updates did not reach the quorum" in outcome.note


def test_a_payload_of_layers_saves_exactly_the_layers_that_stay(tmp_path):
    """The norm of one block jumps in tick 3: the other block, its array and its name are missing from the upload."""

    def jump(client, number):
        return {
            name: np.full(value.shape, 50.0 if name == NAMES[0] and number == 3 else 1.0, np.float32)
            for name, value in INITIAL.items()
        }

    def as_blocks(message, context, call_next):
        reply = call_next(message, context)
        metrics = reply.content["metrics"]
        for name in NAMES:
            metrics[f"norm/{name.removeprefix('model.').removesuffix('.weight')}"] = metrics.pop(f"norm/{name}")
        return reply

    sent = {}
    for payload in ("full", "layers"):
        options = {"local_steps": 1, "performance_trigger": False, "max_silence": 0, "payload": payload}
        spec = run("gsfs", options, rounds=3)
        grid = scripted.InProcessGrid(scripted.client_app(jump, [*scripted.client_mods(spec), as_blocks]), 3)
        checkpoint = scripted.Checkpoint(tmp_path / f"{payload}.safetensors", spec.folder)
        outcome = scripted.simulate(spec, scripted.OneStep(), INITIAL, lambda _: (0.0, 0.0), checkpoint, grid=grid)
        uploads = [r for r in rows(outcome, client=True) if r["uploaded"]]
        assert [(r["round"], r["trigger"]) for r in uploads] == [(3, "gradient")] * 3
        sent[payload] = {r["bytes_up"] for r in uploads}
        np.testing.assert_allclose(outcome.arrays[NAMES[0]], INITIAL[NAMES[0]] + 52, rtol=1e-5)
        stays = INITIAL[NAMES[1]] + (3 if payload == "full" else 0)
        np.testing.assert_allclose(outcome.arrays[NAMES[1]], stays, rtol=1e-5)
    (full,), (layers,) = sent["full"], sent["layers"]
    array = scripted.to_record({NAMES[1]: INITIAL[NAMES[1]]})[NAMES[1]]
    spared = len(array.data) + len(NAMES[1])  # and a few bytes of type, shape and lengths
    assert spared < full - layers < spared + 48


# --- going on where it stopped ---


@pytest.mark.parametrize(
    "strategy",
    [
        *("fedprox", "fedavgm", "fedadam", "fedyogi", "fedadagrad"),
        *("gsfs-staleness", "gsfs-topk", "edge-fit-int8", "fedadam-dp"),
        *("edge-fit-secure", "edge-fit-homes"),
    ],
)
def test_interrupted_run_goes_on_to_the_same_weights_and_history(tmp_path, strategy):
    cohort = 3 if strategy.startswith("gsfs") or strategy.endswith("dp") else 2
    spec = run(strategy, {"local_steps": 1} if strategy.startswith("gsfs") else None, rounds=4, cohort=cohort)
    whole, _ = scripted.federate(spec, update, INITIAL, tmp_path / "whole")
    scripted.killed_at(3, spec, update, INITIAL, tmp_path / "cut")
    resumed, _ = scripted.federate(spec, update, INITIAL, tmp_path / "cut")
    assert whole.arrays.keys() == resumed.arrays.keys()
    for name, value in whole.arrays.items():
        np.testing.assert_array_equal(resumed.arrays[name], value)
    assert any(not np.array_equal(value, INITIAL[name]) for name, value in whole.arrays.items())
    told = ("round", "client", "phase", "uploaded", "trigger", "bytes_up", "virtual_seconds")
    assert [[r.get(key) for key in told] for r in resumed.history] == [
        [r.get(key) for key in told] for r in whole.history
    ]


def test_checkpoints_that_sort_their_arrays_do_not_mix_up_the_momentum(tmp_path):
    """Flower keeps FedAvgM's momentum by position; two parameters of one shape would be swapped in silence."""
    initial = {"z": np.zeros(3, np.float32), "a": np.ones(3, np.float32)}

    def step(client, number):
        return {"z": np.full(3, 1.0, np.float32), "a": np.full(3, -2.0, np.float32)}

    scripted.killed_at(2, run("fedavgm", rounds=2), step, initial, tmp_path)
    outcome, _ = scripted.federate(run("fedavgm", rounds=2), step, initial, tmp_path)
    # Momentum 0.9: steps of 1 and 1.9.
    assert outcome.arrays["z"] == pytest.approx([2.9] * 3)
    assert outcome.arrays["a"] == pytest.approx([1 - 2 * 2.9] * 3)
