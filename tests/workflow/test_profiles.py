"""The profiles: each says why, plans the whole workflow, and says what does not fit before anything is submitted."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checkout import REPOSITORY, Checkout

PROFILES = ("default", "slurm", "kubernetes", "ci")
LADDER = ["edge", "client", "gateway", "central"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("profiles"))


def plan(checkout: Checkout, profile: str, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", f"workflow/profiles/{profile}", "--dry-run"]
    return subprocess.run(
        [*command, *arguments, "--configfile", str(config)],
        cwd=checkout.folder,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_every_entry_has_a_comment(profile):
    """Entries that stand together without an empty line share the comment above them."""
    text = (REPOSITORY / f"workflow/profiles/{profile}/config.yaml").read_text()
    for paragraph in text.split("\n\n"):
        lines = paragraph.splitlines()
        if any(re.match(r"[a-z-]+:", line) for line in lines):
            assert lines[0].startswith("#"), f"nothing is said of `{lines[0]}`"


@pytest.mark.parametrize("profile", ["slurm", "kubernetes"])
def test_a_cluster_has_a_place_for_every_tier_and_one_retry_more_than_attempts(profile):
    entries = yaml.safe_load((REPOSITORY / f"workflow/profiles/{profile}/config.yaml").read_text())
    assert [tier for tier in entries["set-resources"] if tier in LADDER] == LADDER
    assert entries["retries"] == entries["set-resources"]["run"]["attempts"]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_plans_the_whole_workflow(checkout, tiny, profile):
    answer = plan(checkout, profile, tiny)
    assert answer.returncode == 0, answer.stdout
    assert "This was a dry-run" in answer.stdout


def shaped(tmp_path: Path, checkout: Checkout, tiny: Path, width: int, layers: int) -> Path:
    """Let the tiny Llama be a larger one, that is to run on tier edge."""
    models = checkout.folder / "config/models.yaml"
    entries = yaml.safe_load(models.read_text())
    weights = entries["tiny-llama"]["weights"]
    weights["config"] |= {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": 3 * width}
    models.write_text(yaml.safe_dump(entries))
    config = yaml.safe_load(tiny.read_text())
    config.pop("gsfs")
    config["edge_fit"] |= {"procedures": ["federated"], "variants": {}}
    target = tmp_path / "shaped.yaml"
    target.write_text(yaml.safe_dump(config))
    return target


def test_a_model_that_does_not_fit_its_tier_is_reported_before_submission(tmp_path, tiny):
    (tmp_path / "checkout").mkdir()
    checkout = Checkout(tmp_path / "checkout")
    answer = plan(checkout, "slurm", shaped(tmp_path, checkout, tiny, 8192, 16), "runs")
    assert answer.returncode == 0, answer.stdout
    assert re.search(
        r"edge-fit-tiny-llama-s0 needs \d+ MB of GPU memory, \w+ has \d+ MB: it goes to tier", answer.stdout
    )
    answer = plan(checkout, "slurm", shaped(tmp_path, checkout, tiny, 16384, 64), "runs")
    assert answer.returncode != 0
    assert "the largest tier, central, has 40000 MB" in answer.stdout
    assert "Remedy: quantise these models" in answer.stdout
    assert "Traceback" not in answer.stdout
    # Where nothing is to run on a GPU there is no such limit.
    assert plan(checkout, "default", shaped(tmp_path, checkout, tiny, 16384, 64), "runs").returncode == 0
