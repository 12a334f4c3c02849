"""A real SuperLink and SuperNodes on loopback: who is let in, what the run gives, and what is left after it."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pytest
import tiny
import yaml
from safetensors.numpy import load_file

from fedbench import running
from fedbench.deploying import located
from fedbench.experiment import load, read_registry
from fedbench.federation.deployment.keys import Authority, node_key
from fedbench.federation.deployment.processes import MARK
from fedbench.federation.deployment.superlink import Deployment
from fedbench.runs import runs
from fedbench.spec import Experiment, RunSpec

PATIENCE = 300  # seconds; a quiet machine needs a tenth
# A TLS server hangs up on plain text: whether the client reads an end or a reset hangs on who is quicker. That nobody
# listened at all would read "Connection refused".
CUT_OFF = "Server disconnected without sending a response|Connection reset by peer"

EXPERIMENT = {
    "experiment": "deployed",
    "title": "Deployed (synthetic data, random weights)",
    "gsfs": {
        "flows": {"source": {"kind": "synthetic", "rows": 600}, "clients": {"count": 3, "partition": "iid"}},
        "models": [],
        "baselines": [],
        "federated_model": "tiny-bert",
        "strategies": ["fedavg"],
        "seeds": [0],
        "federation": {"rounds": 2, "clients_per_round": 3, "client_tier": "local"},
        "training": {"learning_rate": 5.0e-3, "batch_size": 8, "max_length": 64},
        "latency_requests": 2,
    },
}


def running_with(variable: str, value: str) -> list[psutil.Process]:
    """Return every live process that inherited this value of an environment variable."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(variable) == value:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


# --- who is let in ---


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    """A deployment of one good node, at which four others have tried their luck: name -> (code, log, online ids)."""
    with Deployment(1, tmp_path_factory.mktemp("logs")) as deployment:
        stranger, _ = node_key(deployment.folder / "stranger-key")
        known = deployment.register(1).folder / "node.key"
        other = Authority().write(deployment.folder / "other.crt")
        attempts = {
            "unregistered-key": ("--root-certificates", deployment.root, "--auth-supernode-private-key", stranger),
            "no-key": ("--root-certificates", deployment.root),
            "wrong-authority": ("--root-certificates", other, "--auth-supernode-private-key", known),
            "plain-text": ("--insecure",),
        }
        started = {
            name: deployment.processes.start(
                name,
                deployment.supernode(name, *options, "--max-retries", 1, "--max-wait-time", 5),
                {"FLWR_HOME": str(deployment.folder / name)},
            )
            for name, options in attempts.items()
        }
        codes = {name: process.wait(PATIENCE) for name, process in started.items()}
        logs = {name: deployment.processes.log(name).read_text() for name in attempts}
        with pytest.raises((urllib.error.URLError, OSError)) as plain:
            urllib.request.urlopen(f"http://{deployment.address}/health", timeout=10)
        yield codes, logs, deployment.online(), {node.id for node in deployment.nodes}, str(plain.value)
        folder, mark = deployment.folder, deployment.processes.mark
    assert not folder.exists(), "the keys are gone"
    assert running_with(MARK, mark) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("unregistered-key", "Failed to activate SuperNode"),
        ("no-key", "SuperNode authentication is enabled"),
        ("wrong-authority", "CERTIFICATE_VERIFY_FAILED"),
        ("plain-text", CUT_OFF),
    ],
)
def test_a_node_is_refused_that_comes_with(refused, name, reason):
    codes, logs, _, _, _ = refused
    assert codes[name] == 1
    assert re.search(reason, logs[name]), logs[name]
    assert "SuperNode ID" not in logs[name], "it never got an identity"


def test_the_good_node_is_let_in_and_is_the_only_one(refused):
    _, _, online, registered, _ = refused
    assert online == registered


def test_the_superlink_does_not_speak_plain_text(refused):
    assert refused[4]


# --- what the run gives, and what is left ---


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> tuple[Path, RunSpec]:
    """A folder as the workflow leaves it: the experiment, its data and its model."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "experiment.yaml").write_text(yaml.safe_dump({**EXPERIMENT, "results": str(folder / "results")}))
    experiment: Experiment = load(yaml.safe_load((folder / "experiment.yaml").read_text()), folder=tiny.CONFIG)
    spec = next(iter(runs(experiment, read_registry(tiny.CONFIG)).values()))
    dataset, clients, snapshot = located(experiment, spec)
    dataset.parent.mkdir(parents=True)
    made = tiny.data(dataset.parent)
    made[1].rename(clients)
    snapshot.parent.mkdir(parents=True)
    tiny.snapshot(snapshot.parent, "tiny-bert").rename(snapshot)
    return folder, spec


def fedbench(site: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    private = site / "private"  # where it makes its private folder; everything that it starts inherits this
    private.mkdir(exist_ok=True)
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(private)}
    environment = {**os.environ, **paths, "OMP_NUM_THREADS": "1"}
    files = ["--experiment", site / "experiment.yaml", "--config", tiny.CONFIG]
    return subprocess.run(
        [sys.executable, "-m", "fedbench.cli", "deploy", *files, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )


def test_a_deployed_run_gives_the_weights_of_one_process_and_leaves_nothing_running(site):
    """Each client's place in its batches is kept on its node: lost, the second round would give other weights."""
    folder, spec = site
    answer = fedbench(folder, "--run", spec.label, "--nodes", 2, "--timeout", 2 * PATIENCE)
    assert answer.returncode == 0, answer.stderr
    assert running_with("TMPDIR", str(folder / "private")) == []
    assert list((folder / "private").glob("fedbench-*")) == [], "keys and rows are gone"
    out = folder / "results" / "deployed" / "deployed" / spec.folder
    assert {path.name for path in out.iterdir()} == {*running.FILES, "deployment.json", "logs"}
    assert json.loads((out / "deployment.json").read_text())["nodes"] == [[0, 2], [1]]

    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    results = folder / "results"
    running.execute(spec, *paths(results, spec), results / "here", results / "checkpoints")
    torch.set_num_threads(threads)
    here, there = (load_file(path / "adapter.safetensors") for path in (results / "here", out))
    assert here.keys() == there.keys()
    for name in here:
        np.testing.assert_array_equal(here[name], there[name], err_msg=name)
    timed = ("seconds", "virtual_seconds", "metrics")
    histories = [pl.read_parquet(path / "history.parquet").drop(timed) for path in (results / "here", out)]
    assert histories[0].equals(histories[1])


def paths(results: Path, spec: RunSpec) -> tuple[Path, Path, Path]:
    data = results / "deployed" / "data" / "iot23"
    return data / "dataset.parquet", data / f"clients-{spec.partition}.parquet", next((results / "models").iterdir())


@pytest.mark.parametrize(
    ("run", "nodes", "message"), [("nothing-like-it", 2, "names 0 runs"), (None, 7, "7 nodes for 3 clients")]
)
def test_a_mistake_is_one_line_and_starts_nothing(site, run, nodes, message):
    folder, spec = site
    answer = fedbench(folder, "--run", run or spec.label, "--nodes", nodes)
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert message in answer.stderr
