"""A federated run on a Ray cluster of two nodes at an address that the profile gives: the weights of one process."""

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import conftest
import pytest
import yaml
from safetensors.numpy import load_file

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install -r envs/ray.txt"
)


@pytest.fixture(scope="module")
def nodes(monkeypatch_module: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster of two nodes with one core each, which no single actor pool of one node could fill."""
    monkeypatch_module.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def on_ray(nodes, local, tmp_path_factory) -> Path:
    """A checkout in which the federated run of GSFS has run on the two nodes."""
    folder = tmp_path_factory.mktemp("ray") / "checkout"
    shutil.copytree(local, folder, symlinks=True)
    config = yaml.safe_load(conftest.SMALL.read_text())
    config["gsfs"]["federation"]["grid"] = "ray"
    config["only"] = {"strategies": ["fedavg"]}
    (folder / "ray.yaml").write_text(yaml.safe_dump(config))
    address = ["--set-resources", f"run:ray_address={nodes}"]
    command = ["runs", "--configfile", "ray.yaml", *address]
    conftest.Engine(folder, "workflow/profiles/default", *command, environment=dict(os.environ)).finish()
    return folder


def run(checkout: Path, grid: str) -> Path:
    for folder in checkout.glob("results/small/runs/gsfs-fedavg-*"):
        if json.loads((folder / "manifest.json").read_text())["run"]["federation"]["grid"] == grid:
            return folder
    raise AssertionError(f"no run on grid {grid}")


def test_the_weights_are_those_of_one_process(on_ray, local):
    there, here = (
        load_file(folder / "adapter.safetensors") for folder in (run(on_ray, "ray"), run(local, "in-process"))
    )
    assert {name: array.tobytes() for name, array in there.items()} == {
        name: array.tobytes() for name, array in here.items()
    }


def test_clients_ran_on_both_nodes(nodes, on_ray):
    import ray
    from ray._private.state import actors  # also those that have ended

    ray.init(address=nodes, include_dashboard=False, log_to_driver=False)
    try:
        served = {
            actor["Address"]["NodeID"] for actor in actors().values() if actor["ActorClassName"] == "ClientAppActor"
        }
        assert served == {node["NodeID"] for node in ray.nodes()}
    finally:
        ray.shutdown()


def test_an_address_where_nobody_answers_is_named(monkeypatch):
    from fedbench.errors import FedbenchError
    from fedbench.federation import ray_grid

    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(FedbenchError, match=r"127\.0\.0\.1:1.*ray start --head"):
        ray_grid.resources(clients_per_round=2)
