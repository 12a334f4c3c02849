"""Verdicts: the rules with known answers, the published values, and what stands beside what."""

from pathlib import Path

import fake_results as fake
import pandas as pd
import pytest

from fedbench.errors import FedbenchError
from fedbench.reporting import build
from fedbench.reporting.results import Estimate, Results, over_seeds
from fedbench.reporting.verdicts import Comparison, read_published, tally, verdict


def judged(ours: Estimate | None, published: float = 0.90, **changes: object) -> str:
    return verdict(Comparison("row", "column", "measure", Estimate(published), ours, **changes), 0.02)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ours", "wanted"),
    [
        (Estimate(0.89, 0.87, 0.91), "reproduced"),
        (Estimate(0.89, 0.88, 0.90), "reproduced"),  # the ends belong to the interval
        (Estimate(0.885, 0.88, 0.895), "close"),
        (Estimate(0.88), "close"),  # exactly the tolerance, whatever floating point makes of it
        (Estimate(0.92, 0.91, 0.93), "close"),
        (Estimate(0.85, 0.84, 0.86), "differs"),
        (Estimate(0.90), "reproduced"),
        (None, "not run"),
    ],
)
def test_known_verdicts(ours: Estimate | None, wanted: str) -> None:
    assert judged(ours) == wanted


def test_an_obstacle_outweighs_equality_and_is_the_reason() -> None:
    comparison = Comparison("r", "c", "m", Estimate(0.9), Estimate(0.9, 0.8, 1.0), obstacle="synthetic data")
    assert verdict(comparison, 0.02) == ("not comparable", "synthetic data")


def test_what_did_not_run_stays_not_run_whatever_the_obstacle() -> None:
    comparison = Comparison("r", "c", "m", Estimate(0.9), None, obstacle="synthetic data", missing="out of memory")
    assert verdict(comparison, 0.02) == ("not run", "out of memory")


def test_counts_are_equal_or_differ() -> None:
    assert judged(Estimate(33602), 33602, decimals=0) == "reproduced"
    assert judged(Estimate(33601), 33602, decimals=0) == "differs"
    assert judged(Estimate(100 * 33602 / 48003), 70, decimals=0) == "reproduced"


def test_published_values_of_both_papers_are_whole(repository: Path) -> None:
    gsfs, edge_fit = (read_published(repository / "config" / "published", paper) for paper in ("gsfs", "edge-fit"))
    assert gsfs.groupby("table").size().to_dict() == {"I": 6, "II": 18 * 6, "III": 3 * 8, "text": 1}
    assert edge_fit.groupby("table").size().to_dict() == {"II": 2, "III": 16, "IV": 8, "text": 2}
    assert gsfs[(gsfs["table"] == "I") & (gsfs["unit"] == "samples")]["value"].sum() == 48_003
    cells = gsfs.set_index(["table", "row", "column"])["value"]
    assert cells["III", "GSFS (Proposed)", "Latency, client model (avg)"] == 34.69
    # The paper's arithmetic holds in what was typed here: requests a minute are 60 / latency.
    for row in ("BERT", "OPT-350M", "google/flan-t5-large"):
        assert cells["II", row, "Energy efficiency"] == pytest.approx(
            60_000 / cells["II", row, "Response latency"], abs=0.6
        )


def test_a_published_value_that_is_no_number_is_refused_by_line(tmp_path: Path) -> None:
    (tmp_path / "gsfs.csv").write_text("paper,table,row,column,value,unit\ngsfs,I,a,b,1,x\ngsfs,I,a,c,one,x\n")
    with pytest.raises(FedbenchError, match=r"gsfs\.csv:3: value 'one'"):
        read_published(tmp_path, "gsfs")


def test_ratio_interval_is_students() -> None:
    estimate = over_seeds([1.0, 2.0, 3.0])
    assert estimate is not None
    assert (estimate.value, estimate.sd, estimate.seeds) == (2.0, 1.0, 3)
    assert estimate.high == pytest.approx(2 + 4.303 / 3**0.5, abs=1e-3)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results that claim to be of real data, from a model that claims to be BERT."""
    folder = tmp_path_factory.mktemp("real")
    return fake.build(folder, synthetic=False)


def frame(results: Path, name: str, source: str = "mirror", **changes: object) -> pd.DataFrame:
    return build.table_frame(name, fake.experiment(source, **changes), Results.read(results), fake.PUBLISHED)


@pytest.mark.parametrize("name", ["gsfs-table1", "gsfs-table2", "gsfs-table3", "edge-fit-table3", "edge-fit-table4"])
def test_synthetic_data_are_never_compared(real: Path, name: str) -> None:
    verdicts = frame(real, f"{name}-verdict", "synthetic")
    assert set(verdicts["verdict"]) <= {"not comparable", "not run"}
    compared = verdicts[verdicts["verdict"] == "not comparable"]
    assert compared["reason"].str.contains("synthetic data").all()
    assert compared["difference"].map(lambda cell: isinstance(cell, Estimate)).all(), (
        "the difference is shown all the same"
    )


def test_another_model_is_named(real: Path) -> None:
    verdicts = frame(real, "gsfs-table2-verdict")
    bert = verdicts[verdicts["row"] == "BERT"]
    assert set(bert["verdict"]) == {"not comparable"}
    assert bert["reason"].str.contains("our model is MiniLM-L6, the paper's BERT").all()
    assert set(verdicts[verdicts["row"] == "ALBERT"]["verdict"]) == {"not run"}


def test_a_failed_run_gives_its_message_as_reason(real: Path) -> None:
    verdicts = frame(real, "gsfs-table2-verdict")
    failed = verdicts[verdicts["row"] == "OPT-350M"]
    assert set(failed["verdict"]) == {"not run"}
    assert failed["reason"].str.contains("out of memory").all()
    assert set(failed["ours"]) == {"not run"}


def test_absolute_times_are_not_compared_but_their_ratios_are(real: Path) -> None:
    verdicts = frame(real, "gsfs-table3-verdict")
    ratios = verdicts["row"].str.endswith("ratio")
    times = verdicts["column"].str.startswith(("Latency", "Energy"))
    assert set(verdicts[times & ~ratios]["verdict"]) == {"not comparable"}
    assert verdicts[times & ~ratios]["reason"].str.contains("other hardware").all()
    assert set(verdicts[ratios]["verdict"]) <= {"reproduced", "close", "differs"}
    assert ratios.sum() == 6
    row = verdicts[
        (verdicts["row"] == "FedAvg / GSFS latency ratio") & (verdicts["column"] == "Latency, central model")
    ].iloc[0]
    assert row["published"].value == pytest.approx(48.12 / 37.74)
    assert row["verdict"] == "reproduced", "the fake runs were given the paper's latencies"


def test_the_papers_own_model_on_the_papers_data_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "SPLIT_SIZES", {"train": 33_602, "validation": 9_601, "test": 4_800})
    bert = fake.model("minilm", "BERT", gsfs="BERT")
    fake.build(tmp_path, synthetic=False, encoder=bert)
    assert set(frame(tmp_path, "gsfs-table1-verdict")["verdict"]) == {"reproduced"}
    rows = frame(tmp_path, "gsfs-table2-verdict").query("row == 'BERT'").set_index("measure")
    assert rows.loc["Accuracy", "verdict"] in ("reproduced", "close", "differs")
    assert rows.loc["Response latency (ms)", "verdict"] == "not comparable"


def test_other_data_are_an_obstacle(real: Path) -> None:
    verdicts = frame(real, "gsfs-table2-verdict")
    assert (
        verdicts[verdicts["row"] == "BERT"]["reason"].str.contains("other data: 4,000 flows, the paper's 48,003").all()
    )


def test_every_published_value_has_a_verdict(real: Path, repository: Path) -> None:
    for paper, tables in (
        ("gsfs", {"I": "table1", "II": "table2", "III": "table3"}),
        ("edge-fit", {"III": "table3", "IV": "table4"}),
    ):
        published = read_published(repository / "config" / "published", paper)
        for number, name in tables.items():
            wanted = published[published["table"] == number]
            verdicts = frame(real, f"{paper}-{name}-verdict")
            assert set(zip(wanted["row"], wanted["column"], strict=True)) <= set(
                zip(verdicts["row"], verdicts["column"], strict=True)
            )
            assert sum(tally(verdicts).values()) == len(verdicts)
