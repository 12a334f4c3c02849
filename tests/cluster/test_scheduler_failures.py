"""What a scheduler can do to a run ends in an attempt on the next tier, or in a failure row that says what happened.

One experiment of six runs, each of which meets something else in its first attempt. Submitted with cluster-generic,
which looks every second where the Slurm plugin waits ten seconds longer after each look.
"""

import json
import shutil
import signal
from pathlib import Path

import conftest
import polars as pl
import pytest
import yaml
from safetensors.numpy import load_file

SUBMIT = (
    "sbatch --parsable --no-requeue -J {wildcards.run} -o /dev/null -p {resources.slurm_partition} "
    "-C {resources.constraint} --gres={resources.gres} --mem={resources.mem_mb} -t {resources.runtime} "
    "{resources.slurm_extra}"
)
EVENTUALLY = 600  # seconds, on a machine that has other work

# Run -> partition and end of each attempt. Slurm without cgroups calls a step that it killed for its memory FAILED.
MEMORY = ("FAILED", "OUT_OF_MEMORY")
ENDS = {
    "edge-fit-tiny-llama-s0": [("edge", MEMORY), ("client", "COMPLETED")],
    "edge-fit-tiny-llama-s1": [("edge", MEMORY), ("client", MEMORY), ("edge", "COMPLETED")],
    "gsfs-fedavg-tiny-bert-dirichlet-s0": [("client", "DEADLINE"), ("gateway", "COMPLETED")],
    "edge-fit-centralised-tiny-llama-s0": [("gateway", "NODE_FAIL"), ("central", "COMPLETED")],
    "edge-fit-centralised-tiny-llama-s1": [("gateway", "CANCELLED"), ("central", "COMPLETED")],
    "gsfs-centralised-tiny-bert-s0": [("central", "TIMEOUT"), ("central", "COMPLETED")],
}


def profile(folder: Path) -> Path:
    """Write the slurm profile with limits that some runs cannot keep, and with a quick executor."""
    made = yaml.safe_load((folder / "workflow/profiles/slurm/config.yaml").read_text())
    places = made["set-resources"]
    # The drained partition: what takes a minute cannot start half a minute from now.
    places["client"]["slurm_extra"] = "'--deadline=now+90' if 'fedavg' in wildcards.run else '--nice'"
    # The failure row is written by a job of tier local.
    places["local"] = {"slurm_partition": "edge", "constraint": "edge", "gres": "none", "slurm_extra": "--nice"}
    short = "attempt == 1 and ('fedavg' in wildcards.run or 'centralised-tiny-bert' in wildcards.run)"
    places["run"] = {
        "attempts": 2,
        "mem_mb": "400 if '-fit-tiny-llama-s1' in wildcards.run or "
        "'-fit-tiny-llama-s0' in wildcards.run and attempt == 1 else 2000",
        "runtime": f"1 if {short} else 20",
    }
    made |= {
        "executor": "cluster-generic",
        "cluster-generic-submit-cmd": SUBMIT,
        "cluster-generic-status-cmd": str(Path(__file__).with_name("status")),
        "cluster-generic-cancel-cmd": "scancel",
        "seconds-between-status-checks": 1,
        "latency-wait": 10,
        "retries": 2,
    }
    target = folder / "workflow/profiles/failing/config.yaml"
    target.parent.mkdir()
    target.write_text(yaml.safe_dump(made))
    return target.parent


def attempts(slurm, label: str) -> list[dict[str, str]]:
    return [job for job in slurm.all_jobs() if job["JobName"].startswith(f"{label}-")]


@pytest.fixture(scope="module")
def survived(slurm, local, tmp_path_factory) -> Path:
    """A checkout with the data of the small experiment, in which its runs have met all this."""
    folder = tmp_path_factory.mktemp("failing") / "checkout"
    shutil.copytree(local, folder, symlinks=True)
    shutil.rmtree(folder / "results/small/runs")
    config = yaml.safe_load(conftest.SMALL.read_text())
    config["gsfs"]["baselines"] = []
    config["edge_fit"]["seeds"] = [0, 1]
    (folder / "failing.yaml").write_text(yaml.safe_dump(config))
    slurm.drain("client1")
    known = len(slurm.all_jobs())
    command = ["runs", "--configfile", "failing.yaml"]
    engine = conftest.Engine(folder, str(profile(folder)), *command, environment=slurm.environment)

    def first(label: str, state: str) -> str:
        """Return the job of a run's first attempt, once it is in that state."""
        slurm.wait(
            lambda: (
                engine.process.poll() is not None or [j for j in attempts(slurm, label)[:1] if j["JobState"] == state]
            ),
            EVENTUALLY,
            f"{label}: {state}",
        )
        assert engine.process.poll() is None, engine.said
        return attempts(slurm, label)[0]["JobId"]

    try:
        slurm.freeze(first("gsfs-centralised-tiny-bert-s0", "RUNNING"))
        slurm.command("scancel", first("edge-fit-centralised-tiny-llama-s1", "RUNNING"))
        first("edge-fit-centralised-tiny-llama-s0", "RUNNING")
        slurm.kill("gateway1")
        first("gsfs-fedavg-tiny-bert-dirichlet-s0", "DEADLINE")
        slurm.resume("client1")
        first("edge-fit-centralised-tiny-llama-s0", "NODE_FAIL")
        slurm.resume("gateway1")
        engine.finish()
    finally:
        if engine.process.poll() is None:
            engine.process.send_signal(signal.SIGINT)
            engine.process.wait()
    assert len(slurm.all_jobs()) - known == sum(map(len, ENDS.values())), engine.said
    return folder


def manifest(checkout: Path, label: str) -> dict:
    (folder,) = checkout.glob(f"results/small/runs/{label}-*")
    assert len(list(folder.iterdir())) == 5
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.parametrize("label", ENDS)
def test_an_attempt_that_the_scheduler_ends_is_followed_by_one_on_the_next_tier(slurm, survived, label):
    jobs = attempts(slurm, label)
    assert len(jobs) == len(ENDS[label])
    for job, (partition, end) in zip(jobs, ENDS[label], strict=True):
        assert job["Partition"] == partition
        assert job["JobState"] in end


@pytest.mark.parametrize("label", [label for label in ENDS if label != "edge-fit-tiny-llama-s1"])
def test_the_attempt_that_comes_through_leaves_a_result(survived, label):
    assert manifest(survived, label)["status"] == "ok"


@pytest.mark.parametrize("label", [label for label in ENDS if label.endswith("-s0")])
def test_the_result_is_that_of_a_run_that_nothing_happened_to(survived, local, label):
    (ours,) = survived.glob(f"results/small/runs/{label}-*")
    theirs = local / ours.relative_to(survived)
    for name, array in load_file(theirs / "adapter.safetensors").items():
        assert load_file(ours / "adapter.safetensors")[name].tobytes() == array.tobytes()
    assert pl.read_parquet(ours / "predictions.parquet").equals(pl.read_parquet(theirs / "predictions.parquet"))


def test_a_run_that_no_tier_can_hold_becomes_a_row_that_says_how_each_attempt_ended(slurm, survived):
    told = manifest(survived, "edge-fit-tiny-llama-s1")
    first, second, _ = attempts(slurm, "edge-fit-tiny-llama-s1")
    assert told["status"] == "failed"
    assert "given up after 2 attempts" in told["message"]
    assert f"edge (job {first['JobId']} on {first['NodeList']}" in told["message"]
    assert f"client (job {second['JobId']} on client1" in told["message"]
    assert told["message"].count(": FAILED") + told["message"].count(": OUT_OF_MEMORY") == 2


def test_a_later_attempt_has_more_time(slurm, survived):
    short, long = attempts(slurm, "gsfs-centralised-tiny-bert-s0")
    assert (short["TimeLimit"], long["TimeLimit"]) == ("00:01:00", "00:20:00")


def test_no_attempt_is_remembered_once_there_is_a_row(survived):
    assert not list(survived.glob("results/small/checkpoints/*.attempts"))
