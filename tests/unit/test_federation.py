"""Known answers of the federation: the limits in which strategies must agree, and what a run leaves."""

import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from safetensors.numpy import load_file

from fedbench import running
from fedbench.errors import FedbenchError
from fedbench.federation import simulation, strategies
from fedbench.federation.arrays import to_numpy, to_record
from fedbench.federation.grid import InProcessGrid
from fedbench.federation.strategies import Population
from fedbench.models.loading import load
from fedbench.procedures.result import HISTORY, PREDICTIONS
from fedbench.spec import FederationSpec, RunSpec, TrainingSpec
from fedbench.training.batches import steps_per_epoch
from fedbench.training.examples import flows
from fedbench.training.loop import Trainer


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("federation")
    tiny.snapshot(folder)
    return folder


def execute(place: Path, spec: RunSpec, name: str, clients: int = 3) -> dict[str, np.ndarray]:
    data = place / f"data-{clients}"
    data.mkdir(exist_ok=True)
    dataset, held = tiny.data(data, clients)
    out = place / name
    running.execute(spec, dataset, held, tiny.snapshot(place, spec.model.name), out, place / "checkpoints")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["status"] == "ok", manifest["message"]
    return load_file(out / "adapter.safetensors")


def initial(place: Path) -> dict[str, np.ndarray]:
    """Return the adapter that every tiny run of seed 0 starts from."""
    spec = tiny.run()
    return Trainer(load(tiny.snapshot(place), "classify", spec.training, ["Benign", "DDoS"], 0), spec.training).arrays()


def distance(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(left[name] - right[name]).sum() for name in left)))


def assert_same(left: dict[str, np.ndarray], right: dict[str, np.ndarray], tolerance: float = 0.0) -> None:
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_allclose(left[name], right[name], rtol=0, atol=tolerance, err_msg=name)


def test_run_leaves_its_five_files_with_their_schemas(place):
    execute(place, tiny.run(), "files")
    out = place / "files"
    assert sorted(p.name for p in out.iterdir()) == sorted(running.FILES)
    assert set(pl.read_parquet(out / "predictions.parquet").columns) == set(PREDICTIONS.names)
    history = pl.read_parquet(out / "history.parquet")
    assert set(history.columns) == set(HISTORY.names)
    assert history.filter(pl.col("phase") == "train").height == 2 * 3
    usage = json.loads((out / "usage.json").read_text())
    assert usage["bytes_up"] == history["bytes_up"].sum() > usage["adapter_bytes"] * 6
    scopes = pl.read_parquet(out / "predictions.parquet").group_by("scope", "client").len()
    assert sorted(scopes.select("scope", "client").rows()) == [
        ("central", -1), ("client", 0), ("client", 1), ("client", 2),
    ]  # fmt: skip
    assert not list((place / "checkpoints").glob("*")), "a finished run keeps no checkpoint"


def test_same_seed_gives_the_same_weights_and_another_seed_does_not(place):
    first = execute(place, tiny.run(), "seed-a")
    assert_same(first, execute(place, tiny.run(), "seed-b"))
    other = execute(place, tiny.run(seed=1), "seed-c")
    assert any(not np.array_equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("strategy", ["fedavg", "edge-fit"])
def test_one_client_federated_is_the_same_client_alone(place, strategy):
    """One round of E epochs over one client is that client's own training, to the last bit of float32 addition."""
    spec = tiny.run(strategy, clients=1, federation=FederationSpec(rounds=1, clients_per_round=1, client_tier="local"))
    federated = execute(place, spec, f"single-{strategy}", clients=1)
    rows = pl.read_parquet(place / "data-1" / "dataset.parquet").filter(pl.col("split") == "train")
    loaded = load(tiny.snapshot(place), "classify", spec.training, ["Benign", "DDoS"], spec.seed)
    classes = [["Benign", "DDoS"].index(label) for label in rows["label"].to_list()]
    examples = flows(loaded.tokenizer, rows["text"].to_list(), classes, spec.training.max_length)
    alone = Trainer(loaded, spec.training)
    alone.train(examples, steps_per_epoch(len(examples), spec.training.batch_size), (spec.seed, 0))
    assert_same(federated, alone.arrays(), 1e-7)


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi", "fedadagrad"])
def test_averaging_equal_adapters_changes_nothing(place, strategy):
    spec = tiny.run(strategy)
    grid = InProcessGrid(ClientApp(), 3)
    server = strategies.build(spec.strategy, spec.federation, Population(3, [1, 1, 1]))
    arrays = {"w": np.linspace(-1, 1, 7, dtype=np.float32)}
    sent = list(server.configure_train(1, to_record(arrays), ConfigRecord(), grid))
    content = {"arrays": to_record(arrays), "metrics": MetricRecord({"num-examples": 5})}
    replies = [Message(RecordDict(dict(content)), reply_to=message) for message in sent]
    aggregated, _ = server.aggregate_train(1, replies)
    # A server rate over tau of 10 makes the last digit of the mean count tenfold.
    assert_same(to_numpy(aggregated), arrays, 1e-6)
    assert to_numpy(aggregated)["w"].dtype == np.float32


def test_edge_fit_differences_give_the_weights_of_fedavg(place):
    fedavg = execute(place, tiny.run(), "fedavg")
    assert_same(fedavg, execute(place, tiny.run("edge-fit"), "edge-fit"), 1e-6)


def test_gsfs_at_its_limits_is_fedavg(place):
    """Thresholds at minus infinity, quorum 1, sample weights and a tick of E epochs (methods: limits of GSFS)."""
    options = {
        "local_steps": None,
        "quorum": 1.0,
        "weights": "samples",
        "performance_factor": -np.inf,
        "gradient_lambda": -np.inf,
    }
    assert_same(execute(place, tiny.run(), "a"), execute(place, tiny.run("gsfs", options=options), "b"), 1e-6)


def test_fedprox_without_its_term_is_fedavg_and_with_it_stays_nearer_to_the_start(place):
    federation = FederationSpec(rounds=1, clients_per_round=3, client_tier="local")
    fedavg = execute(place, tiny.run(federation=federation), "prox-fedavg")
    without = execute(place, tiny.run("fedprox", options={"mu": 0.0}, federation=federation), "prox-0")
    pulled = execute(place, tiny.run("fedprox", options={"mu": 10.0}, federation=federation), "prox-10")
    start = initial(place)
    assert_same(fedavg, without)
    assert 0 < distance(pulled, start) < 0.9 * distance(fedavg, start)


def test_private_training_is_saved_and_its_epsilon_told(place):
    """A known silent failure: the adapter that is saved is the one from before training."""
    strategy = tiny.REGISTRY.strategies["fedavg-dp"]
    saved = execute(place, tiny.run().model_copy(update={"strategy": strategy}), "private")
    moved = distance(saved, initial(place))
    # Two rounds of a mean of clipped updates, and noise of sigma C / m = 1/3 on each parameter.
    noise = (2 * sum(value.size for value in saved.values())) ** 0.5 / 3
    assert 0.8 * noise < moved < 1.2 * noise + 2 * strategy.privacy.clip
    usage = json.loads((place / "private" / "usage.json").read_text())
    assert usage["privacy"]["epsilon"] > 0
    assert usage["replies"] == {"lost": 0, "failed": 0}


def test_compressed_run_uploads_less_and_ends_elsewhere_than_it_began(place):
    strategy = tiny.REGISTRY.strategies["gsfs-topk"].model_copy(update={"options": {"local_steps": 1}})
    saved = execute(place, tiny.run("gsfs").model_copy(update={"strategy": strategy}), "packed")
    history = pl.read_parquet(place / "packed" / "history.parquet").filter(pl.col("uploaded"))
    usage = json.loads((place / "packed" / "usage.json").read_text())
    assert history["bytes_up"].max() < 0.1 * 2 * usage["adapter_bytes"] + 3000  # a tenth, each with its index
    assert distance(saved, initial(place)) > 0.1


def test_gsfs_without_triggers_uploads_by_silence_only(place):
    options = {"local_steps": 1, "performance_trigger": False, "gradient_trigger": False, "max_silence": 2}
    execute(place, tiny.run("gsfs", options=options), "silent")
    history = pl.read_parquet(place / "silent" / "history.parquet").filter(pl.col("phase") == "train")
    assert set(history["trigger"].unique()) == {"", "silence"}
    assert (history.filter(pl.col("uploaded"))["round"] % 2 == 0).all()


def test_gsfs_that_never_uploads_ends_with_the_first_model_and_downloads_it_once(place):
    options = {"local_steps": 1, "performance_trigger": False, "gradient_trigger": False, "max_silence": 0}
    spec = tiny.run("gsfs", options=options)
    execute(place, spec, "never")
    usage = json.loads((place / "never" / "usage.json").read_text())
    assert usage["versions"] == 0
    history = pl.read_parquet(place / "never" / "history.parquet").filter(pl.col("phase") == "train")
    later = history.filter(pl.col("round") > 1)
    assert later["bytes_down"].max() < usage["adapter_bytes"], "no parameters travel without a new version"
    assert history["bytes_up"].max() < usage["adapter_bytes"]


def test_pool_below_quorum_at_the_end_is_reported(place):
    options = {"local_steps": 1, "quorum": 1.0, "performance_trigger": False, "max_silence": 0, "warm_up": 0}
    execute(place, tiny.run("gsfs", options=options), "unfinished")
    manifest = json.loads((place / "unfinished" / "manifest.json").read_text())
    usage = json.loads((place / "unfinished" / "usage.json").read_text())
    history = pl.read_parquet(place / "unfinished" / "history.parquet")
    last = history.filter(pl.col("client") == -1).sort("round")["metrics"][-1]
    pooled = json.loads(last)["pool"] % 3  # a full pool has just become a version
    assert bool(manifest["message"]) == bool(pooled)
    assert usage["versions"] >= 0


@pytest.mark.parametrize("strategy", ["fedavg", "gsfs"])  # the others without a model: test_scripted_runs.py
def test_interrupted_run_goes_on_to_the_same_weights(place, strategy, monkeypatch):
    options = {"local_steps": 1} if strategy == "gsfs" else None
    federation = FederationSpec(rounds=3, clients_per_round=2, client_tier="local")
    spec = tiny.run(strategy, options=options, federation=federation)
    whole = execute(place, spec, f"whole-{strategy}")
    rounds, original = [], simulation._round

    def killed(number, *rest):
        if number == 3:
            raise KeyboardInterrupt
        rounds.append(number)
        return original(number, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(simulation, "_round", killed)
        with pytest.raises(KeyboardInterrupt):
            execute(place, spec, f"resumed-{strategy}")
    assert not (place / f"resumed-{strategy}" / "manifest.json").exists()
    random.seed(99)
    assert_same(whole, execute(place, spec, f"resumed-{strategy}"))
    assert rounds == [1, 2]


def test_divergence_is_a_failed_row_not_a_crash(place):
    spec = tiny.run(training=TrainingSpec(learning_rate=1e30, gradient_clip=0, batch_size=8, max_length=64))
    data = place / "data-3"
    data.mkdir(exist_ok=True)
    dataset, held = tiny.data(data)
    running.execute(spec, dataset, held, tiny.snapshot(place), place / "diverged", place / "checkpoints")
    manifest = json.loads((place / "diverged" / "manifest.json").read_text())
    assert manifest["status"] == "failed"
    assert "diverged" in manifest["message"]
    assert "learning_rate" in manifest["message"]
    assert pl.read_parquet(place / "diverged" / "predictions.parquet").height == 0


def test_unknown_adapter_is_refused(place):
    training = TrainingSpec()
    trainer = Trainer(load(tiny.snapshot(place), "classify", training, ["a", "b"]), training)
    with pytest.raises(FedbenchError, match="does not belong"):
        trainer.load({"foreign": np.zeros(1)})
