"""What an edit reruns, on the real DAG: each row of the table in CONTRIBUTING.md is a test."""

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from checkout import REPOSITORY, Checkout, edited, stages

COLLATED = {"Tables of scores, runs, histories", "Table", "Verdicts", "Figure", "Manifest", "Summary page"}
SCORED = COLLATED | {"Score"}
IOT23 = {
    "logs to typed flows",
    "curated sample",
    "labels, text and split",
    "rows to clients (dirichlet)",
    "how far memory alone would get",
}
TINY_BERT = {"gsfs-centralised", "gsfs-prompt-cloud", "gsfs-fedavg", "gsfs-fedadam", "gsfs-gsfs"}
BASELINES = {"gsfs-hist-gradient-boosting-s0", "gsfs-majority-s0"}


@dataclass(frozen=True)
class Row:
    """An edit and what it reruns: stages, and of some the names."""

    path: str = ""
    old: str = ""
    new: str = ""
    arguments: tuple[str, ...] = ()
    stages: frozenset[str] | set[str] = frozenset()
    names: Mapping[str, set[str]] = field(default_factory=dict)


PACKAGE = "workflow/fedbench"
PROFILES = {path.parent.name for path in REPOSITORY.glob("workflow/profiles/*/config.yaml")}
TABLE = {
    "the style of figures": Row(
        f"{PACKAGE}/reporting/drawing.py", '"font.size": 9', '"font.size": 10', stages={"Figure", "Summary page"}
    ),
    "a metric": Row(f"{PACKAGE}/evaluation/score.py", "\nRow = ", "\nUNUSED = 1\nRow = ", stages=SCORED),
    "one model's learning rate": Row(
        arguments=("--config", "gsfs={overrides: {tiny-bert: {learning_rate: 0.002}}}"),
        stages=SCORED | {"Run"},
        names={"Run": TINY_BERT, "Score": TINY_BERT},
    ),
    "one more seed": Row(
        arguments=("--config", "gsfs={seeds: [0, 1]}"),
        stages=SCORED | {"Run"},
        names={
            stage: {f"gsfs-{name}-tiny-bert-dirichlet-s1" for name in ("fedavg", "fedadam", "gsfs")}
            for stage in ("Run", "Score")
        },
    ),
    "a published value of GSFS": Row(
        "config/published/gsfs.csv",
        "33602",
        "33603",
        stages={"Verdicts", "Audit", "Summary page"},
        names={"Verdicts": {f"gsfs-table{n}" for n in (1, 2, 3)}, "Audit": {"gsfs-audit"}},
    ),
    "a published value of Edge-FIT": Row(
        "config/published/edge-fit.csv",
        "Accuracy,0.31",
        "Accuracy,0.32",
        stages={"Verdicts", "Audit", "Figure", "Summary page"},
        names={
            "Verdicts": {"edge-fit-table3", "edge-fit-table4"},
            "Audit": {"edge-fit-audit"},
            "Figure": {"edge-fit-bars"},
        },
    ),
    "the code that cleans IoT-23": Row(
        f"{PACKAGE}/flows/clean.py",
        "\nimport ",
        "\nUNUSED = 1\nimport ",
        stages=SCORED | {"IoT-23", "Run"},
        names={"IoT-23": IOT23, "Run": TINY_BERT | BASELINES},
    ),
    "the cleaning rule of IoT-23": Row(
        arguments=("--config", "gsfs={flows: {max_quarantined: 0.02}}"),
        stages=SCORED | {"IoT-23", "Run"},
        names={"IoT-23": IOT23, "Run": TINY_BERT | BASELINES, "Score": TINY_BERT | BASELINES},
    ),
    "a strategy's module": Row(
        f"{PACKAGE}/federation/strategies/gsfs.py",
        "\nimport math\n",
        "\nimport math\n\nUNUSED = 1\n",
        stages=SCORED | {"Run"},
        names={"Run": {"gsfs-gsfs"}, "Score": {"gsfs-gsfs"}},
    ),
    "a rule's script": Row("workflow/scripts/score.py", "\nfrom pathlib", "\nUNUSED = 1\nfrom pathlib", stages=SCORED),
    "the caption of a table": Row(
        f"{PACKAGE}/reporting/captions.py",
        "GSFS, prompt management:",
        "GSFS, prompts:",
        stages={"Table", "Summary page"},
        names={"Table": {"gsfs-prompts"}},
    ),
    "the caption of a figure": Row(
        f"{PACKAGE}/reporting/captions.py",
        "Edge-FIT round by round:",
        "Edge-FIT, a round at a time:",
        stages={"Figure", "Summary page"},
        names={"Figure": {"edge-fit-rounds"}},
    ),
    "a comment or docstring": Row(f"{PACKAGE}/flows/clean.py", "\nimport ", "\n# a comment\nimport "),
    "a comment in a rule's script": Row("workflow/scripts/run.py", "\nimport os\n", "\nimport os  # a comment\n"),
    "code that no stage uses": Row(f"{PACKAGE}/schema.py", "\nimport ", "\nUNUSED = 1\nimport "),
    "threads, memory, cores": Row(
        arguments=("--set-threads", "run=2", "--set-resources", "run:mem_mb=9000", "score:runtime=9", "--cores", "3")
    ),
    "the profile": Row(arguments=("--workflow-profile", "workflow/profiles/ci")),
}


@pytest.fixture(scope="module")
def moved(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The finished checkout, moved to another folder."""
    return finished.moved(tmp_path_factory.mktemp("elsewhere") / "checkout")


@pytest.fixture
def clean(tmp_path: Path) -> Checkout:
    """A checkout without results."""
    folder = tmp_path / "clean"
    folder.mkdir()
    return Checkout(folder)


def names(planned: set[str], stage: str) -> set[str]:
    """Return what the jobs of a stage are about; a run without what follows its strategy, model or baseline."""
    return {job.partition(": ")[2] for job in planned if job.startswith(f"{stage}: ")}


def is_about(found: set[str], expected: set[str]) -> bool:
    """Whether each name found begins with one of the expected, and each of these with one found."""
    pairs = {(name, start) for name in found for start in expected if re.match(rf"{re.escape(start)}(-|$)", name)}
    return {name for name, _ in pairs} == found and {start for _, start in pairs} == expected


@pytest.mark.parametrize("edit", TABLE)
def test_reruns_exactly_what_is_needed(moved, tiny, edit):
    row = TABLE[edit]
    if row.path:
        with edited(moved.folder / row.path, row.old, row.new):
            planned = moved.planned(config=tiny)
    else:
        planned = moved.planned(*row.arguments, config=tiny)
    assert stages(planned) == row.stages
    for stage, expected in row.names.items():
        assert is_about(names(planned, stage), expected), (stage, names(planned, stage))


def test_the_table_of_the_handbook_is_this_one():
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    rows = text.split("| an edit of | reruns |")[1].split("\n\n")[0].splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == list(TABLE)


@pytest.mark.parametrize("profile", sorted(PROFILES - {"default", "ci"}))  # those two are in the table
def test_a_profile_of_a_cluster_reruns_nothing(moved, tiny, profile):
    text = (moved.folder / f"workflow/profiles/{profile}/config.yaml").read_text()
    executor = re.search(r"^executor: (\S+)$", text, re.MULTILINE)
    if executor and not importlib.util.find_spec(f"snakemake_executor_plugin_{executor[1].replace('-', '_')}"):
        pytest.skip(f"the executor plugin {executor[1]} of this profile is not installed")
    assert moved.planned("--workflow-profile", f"workflow/profiles/{profile}", config=tiny) == set()


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_no_profile_takes_the_time_stamp_of_a_script_for_a_change(profile):
    settings = yaml.safe_load((REPOSITORY / f"workflow/profiles/{profile}/config.yaml").read_text())
    assert sorted(settings["rerun-triggers"]) == ["input", "mtime", "params", "software-env"]


def test_a_fresh_clone_with_restored_results_reruns_nothing(finished, clean, tiny):
    for path in clean.folder.rglob("*"):
        os.utime(path)  # as a clone has them
    finished.restore(clean)
    assert clean.planned(config=tiny) == set()
    path = clean.folder / f"{PACKAGE}/reporting/drawing.py"
    with edited(path, '"font.size": 9', '"font.size": 10'):  # and what was restored knows an edit
        assert stages(clean.planned(config=tiny)) == {"Figure", "Summary page"}


def test_results_restored_without_their_times_rerun_nothing_after_one_command(finished, clean, tiny):
    finished.restore(clean, with_times=False)
    clean.python("-m", "fedbench.records")
    assert clean.planned(config=tiny) == set()


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("data", {"IoT-23", "Dolly"}),
        ("models", {"Model snapshot"}),
        ("runs", {"IoT-23", "Dolly", "Model snapshot", "Run"}),
        ("scores", {"IoT-23", "Dolly", "Model snapshot", "Run", "Score", "Tables of scores, runs, histories"}),
        (
            "tables",
            {"IoT-23", "Dolly", "Model snapshot", "Run", "Audit", *SCORED} - {"Figure", "Manifest", "Summary page"},
        ),
        (
            "figures",
            {"IoT-23", "Dolly", "Model snapshot", "Run", "Figure", "Score", "Tables of scores, runs, histories"},
        ),
        ("report", {"IoT-23", "Dolly", "Model snapshot", "Run", "Audit", *SCORED}),
    ],
)
def test_a_stage_asks_for_what_it_needs(clean, tiny, stage, expected):
    assert stages(clean.planned(stage, config=tiny)) == expected


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("{strategies: [gsfs]}", {"gsfs-gsfs-tiny-bert-dirichlet-s0", "gsfs-gsfs-tiny-bert-dirichlet-s1"}),
        (
            "{models: [tiny-bert], seeds: [1]}",
            {f"gsfs-{name}-tiny-bert-dirichlet-s1" for name in ("fedavg", "fedadam", "gsfs")},
        ),
        ("{models: [majority]}", {"gsfs-majority-s0"}),
    ],
)
def test_only_narrows_to_models_strategies_and_seeds(clean, tiny, only, expected):
    planned = clean.planned("runs", "--config", "gsfs={seeds: [0, 1]}", f"only={only}", config=tiny)
    assert is_about(names(planned, "Run"), expected)
    assert "Dolly" not in stages(planned)
