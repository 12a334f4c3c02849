"""Flower's Ray simulation: the same run gives the same weights, and goes on from the same checkpoint."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny
from safetensors.numpy import load_file

from fedbench import running
from fedbench.errors import FedbenchError
from fedbench.federation import ray_grid
from fedbench.federation.client import Resident
from fedbench.federation.simulation import simulate
from fedbench.models.loading import load
from fedbench.spec import FederationSpec, RunSpec
from fedbench.training.checkpoint import Checkpoint
from fedbench.training.examples import flows
from fedbench.training.loop import Trainer

ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install -r envs/ray.txt"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray")
    tiny.snapshot(folder)
    return folder


def federation(grid: str) -> FederationSpec:
    return FederationSpec(rounds=2, clients_per_round=2, client_tier="local", grid=grid)


def resident(place: Path, spec: RunSpec) -> Resident:
    tables = [pl.read_parquet(path) for path in tiny.data(place)]
    rows = tables[0].join(tables[1], on=["row_id", "split"])
    loaded = load(tiny.snapshot(place), "classify", spec.training, ["Benign", "DDoS"], spec.seed)
    held = {
        split: [
            flows(loaded.tokenizer, own["text"].to_list(), (own["label"] == "DDoS").cast(int).to_list(), 64)
            for client in range(spec.clients)
            for own in [rows.filter((pl.col("client") == client) & (pl.col("split") == split)).sort("row_id")]
        ]
        for split in ("train", "validation")
    }
    return Resident(Trainer(loaded, spec.training), held["train"], held["validation"], spec.seed)


@ray
def test_a_run_on_ray_leaves_the_weights_history_and_predictions_of_one_process(place):
    dataset, clients = tiny.data(place)
    found = {}
    for grid in ("in-process", "ray"):
        spec, out = tiny.run(federation=federation(grid)), place / grid
        running.execute(spec, dataset, clients, tiny.snapshot(place), out, place / "checkpoints")
        assert json.loads((out / "manifest.json").read_text())["status"] == "ok"
        history = pl.read_parquet(out / "history.parquet").drop("seconds", "virtual_seconds", "metrics")
        found[grid] = load_file(out / "adapter.safetensors"), history, pl.read_parquet(out / "predictions.parquet")
    here, there = found.values()
    assert here[0].keys() == there[0].keys()
    for name in here[0]:
        np.testing.assert_array_equal(here[0][name], there[0][name], err_msg=name)
    assert here[1].equals(there[1])
    assert here[2].equals(there[2])
    assert not list((place / "checkpoints").iterdir()), "neither a checkpoint nor the actors' folder is left"


@ray
@pytest.mark.parametrize("strategy", ["gsfs", "edge-fit"])
def test_a_run_cut_off_on_ray_goes_on_in_process_to_the_same_weights(place, strategy, monkeypatch):
    """A checkpoint of the Ray grid holds the state of every client, although they ran elsewhere."""
    monkeypatch.setattr(ray_grid.os, "sched_getaffinity", lambda pid: {0})  # one actor: half the imports to wait for
    options = {"local_steps": 2} if strategy == "gsfs" else None
    spec = tiny.run(strategy, options=options, federation=federation("ray"))
    here = spec.model_copy(update={"federation": federation("in-process")})
    clients = resident(place, spec)
    initial = clients.trainer.arrays()
    blind = (lambda arrays: (0.5, 0.5),)
    whole = simulate(here, clients, initial, *blind, Checkpoint(place / f"whole-{strategy}.safetensors", "k"))
    checkpoint = Checkpoint(place / f"{strategy}.safetensors", "k")

    def cut(number: int, rounds: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        ray_grid.simulate_on_ray(
            spec, clients, tiny.snapshot(place), place / "job", initial, *blind, checkpoint, on_round=cut
        )
    assert not (place / "job").exists()
    rest = []
    outcome = simulate(here, clients, initial, *blind, checkpoint, lambda number, rounds: rest.append(number))
    assert rest[0] == 2, "the first round was Ray's"
    assert outcome.clients.keys() == whole.clients.keys()
    for name in initial:
        np.testing.assert_array_equal(outcome.arrays[name], whole.arrays[name], err_msg=name)
        for client in whole.clients:
            np.testing.assert_array_equal(outcome.clients[client][name], whole.clients[client][name], err_msg=name)


def test_without_ray_the_message_says_what_to_do(place, monkeypatch):
    monkeypatch.setattr(ray_grid.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FedbenchError, match=r"envs/ray\.txt"):
        ray_grid.simulate_on_ray(*[None] * 7)


@pytest.mark.parametrize(
    ("gpus", "threads", "cores", "actors"), [(0, 1, 4, 3), (0, 2, 4, 2), (0, 8, 4, 1), (2, 1, 4, 2)]
)
def test_actors_are_as_many_as_gpus_or_cores_hold(monkeypatch, gpus, threads, cores, actors):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_grid.torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(ray_grid.torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(ray_grid.os, "sched_getaffinity", lambda pid: range(cores))
    asked = ray_grid.resources(clients_per_round=3)
    assert asked["init_args"]["num_cpus"] == actors * threads
    assert asked["client_resources"] == {"num_cpus": threads, "num_gpus": 1.0 if gpus else 0.0}
