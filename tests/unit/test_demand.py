"""What a run asks of a machine: its tier, what it grows by, and where it is not to be tried."""

from pathlib import Path

import pytest

from fedbench import demand, experiment
from fedbench.spec import FederationSpec, ModelSpec, RunSpec, TrainingSpec

TIERS = experiment.read_registry(Path(__file__).resolve().parents[2] / "config").tiers
LLAMA_7B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 11008,
    "vocab_size": 32000,
}


def model(tier: str = "edge", config: dict | None = None) -> ModelSpec:
    weights = {"kind": "random", "config": config or {"model_type": "bert"}}
    return ModelSpec.model_validate({"name": "m", "title": "M", "tier": tier, "weights": weights})


def run(tier: str = "edge", config: dict | None = None, **keys: object) -> RunSpec:
    given = {
        "label": "a-run",
        "study": "edge-fit",
        "procedure": "centralised",
        "seed": 0,
        "tier": tier,
        "scoring": "rank",
    }
    return RunSpec.model_validate(
        {**given, "synthetic": True, "data": "d", "clients": 4, "model": model(tier, config)} | keys
    )


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(3 * 2**20))
    return folder


@pytest.fixture
def vram(monkeypatch):
    """Say what the formula is to predict, in megabytes."""

    def predicts(megabytes: int) -> None:
        monkeypatch.setattr(demand, "vram_mb", lambda *_: megabytes)

    return predicts


def test_each_attempt_goes_one_tier_up_and_asks_for_more(snapshot):
    asked = [demand.of(run(), snapshot, 100, TIERS, attempt=attempt) for attempt in (1, 2, 3, 4, 5)]
    assert [one.tier for one in asked] == ["edge", "client", "gateway", "central", "central"]
    assert [one.mem_mb for one in asked] == [attempt * (1000 + 4 * 3) for attempt in (1, 2, 3, 4, 5)]
    assert asked[1].minutes >= 2 * demand.START
    assert all(one.gpus == 1 for one in asked)


def test_tier_local_and_a_baseline_hold_no_gpu_and_stay_where_they_are(snapshot):
    for spec in (run("local"), run("local", model=None, procedure="baseline", baseline="majority")):
        asked = demand.of(spec, snapshot if spec.model else None, 100, TIERS, attempt=3)
        assert (asked.tier, asked.gpus, asked.vram_mb) == ("local", 0, 0)


def test_a_tier_that_is_not_offered_is_served_by_the_next_larger_the_largest_by_itself(snapshot):
    offered = ("client", "gateway")
    assert demand.of(run("edge"), snapshot, 1, TIERS, offered=offered).tier == "client"
    assert demand.of(run("central"), snapshot, 1, TIERS, offered=offered).tier == "gateway"


def test_a_model_that_does_not_fit_its_tier_is_moved_and_that_is_said(snapshot, vram):
    vram(15_000)
    asked = demand.of(run("edge"), snapshot, 1, TIERS)
    assert asked.tier == "gateway"
    assert asked.moved == "a-run needs 15000 MB of GPU memory, client has 12000 MB: it goes to tier gateway"
    assert demand.of(run("edge"), snapshot, 1, TIERS, attempt=2).tier == "central"


def test_a_model_that_fits_nowhere_is_refused(snapshot, vram):
    vram(90_000)
    asked = demand.of(run("client"), snapshot, 1, TIERS)
    assert asked.refusal == "a-run needs 90000 MB of GPU memory, the largest tier, central, has 40000 MB"
    assert (asked.tier, asked.gpus) == ("local", 0)


def test_where_no_gpu_is_asked_for_its_memory_is_no_limit(snapshot, vram):
    vram(90_000)
    asked = demand.of(run("client"), snapshot, 1, TIERS, most_gpus=0)
    assert (asked.tier, asked.gpus, asked.refusal) == ("client", 0, None)


def test_the_attempt_after_the_last_is_refused(snapshot):
    assert demand.of(run(), snapshot, 1, TIERS, attempt=3, attempts=3).refusal is None
    assert "after 3 attempts" in str(demand.of(run(), snapshot, 1, TIERS, attempt=4, attempts=3).refusal)


def test_before_the_snapshot_is_there_memory_and_time_are_unknown(tmp_path):
    asked = demand.of(run(), tmp_path / "not-yet", 1, TIERS)
    assert (asked.tier, asked.mem_mb, asked.minutes) == ("edge", None, None)


def test_time_counts_passes_over_the_data_by_hand():
    training = TrainingSpec(epochs=2, max_length=10)
    # 50 parameters (100 bytes), 7 rows of 10 tokens: 6 x 50 a token and pass, 2 x 50 for each of 16 answer tokens.
    assert demand.operations(run(training=training), 7, 100) == 50 * 70 * (6 * 2 + 2 * 16)
    federation = FederationSpec(rounds=3, clients_per_round=2)
    federated = run(training=training, procedure="federated", federation=federation)
    assert demand.operations(federated, 7, 100) == 50 * 70 * (6 * 2 * 3 * 2 / 4 + 2 * 16)
    assert demand.operations(run(training=training, procedure="zero-shot"), 7, 100) == 50 * 70 * 2 * 16


def test_without_a_gpu_the_same_run_takes_longer(snapshot):
    (snapshot / "model.safetensors").write_bytes(bytes(2**24))
    with_gpu, without = (demand.of(run(), snapshot, 10_000, TIERS, most_gpus=most) for most in (1, 0))
    assert without.minutes > with_gpu.minutes


def test_a_7b_model_in_nf4_is_predicted_once_and_kept(tmp_path, monkeypatch):
    training = TrainingSpec(quantisation="nf4", dtype="bfloat16", batch_size=1, max_length=256)
    spec = run("edge", LLAMA_7B, training=training)
    asked = demand.of(spec, tmp_path / "not-yet", 1, TIERS, predictions=tmp_path / "kept")
    assert 4_000 < asked.vram_mb < 8_000
    assert len(list((tmp_path / "kept").iterdir())) == 1
    monkeypatch.setattr(demand, "_predict", None)
    assert demand.of(spec, tmp_path / "not-yet", 1, TIERS, predictions=tmp_path / "kept") == asked
    assert demand.vram_mb(run("edge", {"model_type": "bert"}), None) == 0, "no formula: nothing is claimed"
