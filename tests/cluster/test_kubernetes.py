"""The kubernetes profile against a stand-in for kubectl that runs the pods here: what they ask for and leave."""

import json
import os
import shutil
import sys
from pathlib import Path

import conftest
import pytest
from safetensors.numpy import load_file


@pytest.fixture(scope="module")
def pods(local, tmp_path_factory) -> Path:
    """Two runs through the profile, with the volume mounted where the checkout is; the folder of checkout and pods."""
    volume = tmp_path_factory.mktemp("volume")
    shutil.copytree(local, volume / "checkout", symlinks=True)
    shutil.rmtree(volume / "checkout/results/small/runs")
    profile = volume / "checkout/workflow/profiles/kubernetes/config.yaml"
    text = profile.read_text()
    assert "--mount /fedbench\n" in text
    profile.write_text(text.replace("--mount /fedbench\n", f"--mount {volume}\n"))
    (volume / "bin").mkdir()
    (volume / "pods").mkdir()
    (volume / "bin/kubectl").write_text(f'#!/bin/sh\nexec {sys.executable} {conftest.SMALL.parent}/kubectl.py "$@"\n')
    (volume / "bin/kubectl").chmod(0o755)
    (volume / "bin/python").symlink_to(sys.executable)
    path = {"PATH": f"{volume}/bin:{os.environ['PATH']}", "PODS": str(volume / "pods")}
    quick = ["--seconds-between-status-checks", 1, "--latency-wait", 5]
    only = ["runs", *quick, "--configfile", conftest.SMALL, "--config", "only={strategies: [fedavg, baseline]}"]
    environment = {**os.environ, **path}
    conftest.Engine(volume / "checkout", "workflow/profiles/kubernetes", *only, environment=environment).finish()
    return volume


def asked(pods: Path) -> dict[str, dict]:
    """Return the pod of each run, by the first words of its label."""
    found = {}
    for file in (pods / "pods").glob("*.json"):
        pod = json.loads(file.read_text())["spec"]["template"]["spec"]
        found["gpu" if "nvidia.com/gpu" in pod["containers"][0]["resources"]["limits"] else "none"] = pod
    return found


def test_a_run_asks_for_the_gpu_and_the_nodes_of_its_tier_a_baseline_for_none(pods):
    found = asked(pods)
    assert found.keys() == {"gpu", "none"}
    assert found["gpu"]["nodeSelector"] == {"node.kubernetes.io/instance-type": "gpu-12gb"}
    assert found["none"]["nodeSelector"] == {"kubernetes.io/os": "linux"}
    limits = found["gpu"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "1", "memory": "1000M", "nvidia.com/gpu": "1"}
    assert found["gpu"]["activeDeadlineSeconds"] == 20 * 60
    assert found["gpu"]["containers"][0]["workingDir"] == str(pods / "checkout")
    assert found["gpu"]["containers"][0]["volumeMounts"] == [{"name": "shared", "mountPath": str(pods)}]


def test_the_runs_are_those_of_one_machine(pods, local):
    runs = sorted((pods / "checkout/results/small/runs").iterdir())
    assert len(runs) == 2
    for run in runs:
        ours, theirs = (
            load_file(run / "adapter.safetensors"),
            load_file(local / "results/small/runs" / run.name / "adapter.safetensors"),
        )
        assert {name: array.tobytes() for name, array in ours.items()} == {
            name: array.tobytes() for name, array in theirs.items()
        }
