"""The audit of the papers' own numbers: known answers, rounding, and what a changed number does to the verdict."""

from pathlib import Path

import fake_results as fake
import pandas as pd
import pytest

from fedbench.errors import FedbenchError
from fedbench.reporting import build, claims
from fedbench.reporting.audit import audit
from fedbench.reporting.checks import AUDIT_VERDICTS, Cell, check
from fedbench.reporting.results import Estimate


@pytest.fixture(scope="module")
def gsfs() -> pd.DataFrame:
    return audit(fake.PUBLISHED, "gsfs")


@pytest.fixture(scope="module")
def edge_fit() -> pd.DataFrame:
    return audit(fake.PUBLISHED, "edge-fit")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in ("gsfs", "edge-fit", "claims"):
        (tmp_path / f"{name}.csv").write_text((fake.PUBLISHED / f"{name}.csv").read_text())
    return tmp_path


def edit(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / f"{name}.csv"
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))


def row(table: pd.DataFrame, claim: str, rule: str = "") -> pd.Series:
    (found,) = [
        part for _, part in table.iterrows() if part["Claim or row"] == claim and str(part["Rule"]).startswith(rule)
    ]
    return found


@pytest.mark.parametrize(
    ("printed", "given", "verdict"),
    [
        (Cell(0.33, 2), [Cell(1.0, 0), Cell(3.0, 0)], "holds"),
        (Cell(0.34, 2), [Cell(1.0, 0), Cell(3.0, 0)], "does not hold"),  # counts are exact
        (Cell(0.34, 2), [Cell(1.0, 1), Cell(3.0, 1)], "within rounding"),  # 1.04 / 2.96 is 0.351
        (Cell(0.40, 2), [Cell(1.0, 1), Cell(3.0, 1)], "does not hold"),
    ],
)
def test_a_printed_value_stands_for_all_that_rounds_to_it(printed: Cell, given: list[Cell], verdict: str) -> None:
    assert check("r", "c", "w", "{} / {}", given, printed, lambda v: v[0] / v[1]).verdict == verdict


def test_a_bound_holds_below_and_fails_above() -> None:
    def bound(printed: float) -> str:
        return check("r", "c", "w", "{}", [Cell(0.5, 2)], Cell(printed, 2), sum, at_most=True).verdict

    assert [bound(value) for value in (0.1, 0.5, 0.51, 0.52)] == ["holds", "holds", "within rounding", "does not hold"]


def test_the_gains_that_the_introduction_claims(gsfs: pd.DataFrame) -> None:
    claimed = {
        "GSFS over FedAvg: accuracy, central model": (0.63, 0.63, "holds"),
        "GSFS over FedAvg: accuracy, client model": (1.49, 1.02, "does not hold"),
        "GSFS under FedAvg: latency, central model": (21.5711, 21.57, "holds"),
        "GSFS under FedAvg: latency, client model": (51.4350, 51.45, "within rounding"),
    }
    for claim, (computed, printed, verdict) in claimed.items():
        found = row(gsfs, claim)
        assert found["Computed"].value == pytest.approx(computed, abs=1e-4), claim
        assert (found["Printed"].value, found["verdict"]) == (printed, verdict), claim


def test_requests_a_minute_are_sixty_over_latency_in_all_24_cells(gsfs: pd.DataFrame) -> None:
    part = gsfs[gsfs["Rule"].str.startswith("Requests a minute")]
    assert len(part) == 24
    assert row(gsfs, "BERT", "Requests")["Computed"].value == pytest.approx(519.57, abs=0.01)
    failing = part[part["verdict"] == "does not hold"]
    apart = [abs(d.value) / p.value for d, p in zip(failing["Difference"], failing["Printed"], strict=True)]
    assert 0 < max(apart) < 4e-4, "never further than 0.04 %"
    assert any("says nothing that latency does not" in text for text in gsfs.attrs["findings"])


def test_recall_is_not_accuracy_where_the_paper_prints_two_numbers(gsfs: pd.DataFrame) -> None:
    part = gsfs[gsfs["Rule"].str.startswith("Recall")].set_index("Claim or row")["verdict"]
    assert len(part) == 18
    assert set(part[["ALBERT", "PALM", "ROBERTA", "DEBERTA"]]) == {"does not hold"}
    assert set(part[["BERT", "GPT-Neo"]]) == {"holds"}


def test_no_f1_is_above_what_precision_and_recall_allow(gsfs: pd.DataFrame, edge_fit: pd.DataFrame) -> None:
    for table in (gsfs, edge_fit):
        assert set(table[table["Rule"].str.startswith("F1 ≤")]["verdict"]) == {"holds"}


def test_edge_fit_agrees_with_itself(edge_fit: pd.DataFrame) -> None:
    assert set(edge_fit[edge_fit["Rule"].str.startswith("F1 =")]["verdict"]) == {"holds"}
    assert row(edge_fit, "Edge-FIT over local-only: F1, Llama 2 (7B)")["Computed"].value == pytest.approx(14)
    assert row(edge_fit, "samples, filtered and generated")["verdict"] == "holds"


def test_every_check_has_a_verdict_and_numbers(gsfs: pd.DataFrame, edge_fit: pd.DataFrame) -> None:
    for table in (gsfs, edge_fit):
        assert set(table["verdict"]) <= set(AUDIT_VERDICTS)
        for column in ("Computed", "Printed", "Difference"):
            assert table[column].map(lambda cell: isinstance(cell, Estimate)).all()


def test_a_changed_number_changes_its_verdicts(copied: Path) -> None:
    edit(
        copied,
        "gsfs",
        'gsfs,III,GSFS (Proposed),"Accuracy, client model (avg)",0.8881',
        'gsfs,III,GSFS (Proposed),"Accuracy, client model (avg)",0.8834',
    )
    edit(copied, "gsfs", "gsfs,II,BERT,F1,0.8741", "gsfs,II,BERT,F1,0.9041")
    edit(copied, "gsfs", "gsfs,I,Testing Set,Number of samples,4800", "gsfs,I,Testing Set,Number of samples,4801")
    edit(copied, "gsfs", "gsfs,II,OPT-350M,Response latency,88.14", "gsfs,II,OPT-350M,Response latency,98.14")
    table = audit(copied, "gsfs")
    assert row(table, "GSFS over FedAvg: accuracy, client model")["verdict"] == "holds"
    assert row(table, "BERT", "F1 ≤")["verdict"] == "does not hold"
    assert row(table, "samples after cleaning, all three parts")["verdict"] == "does not hold"
    assert row(table, "OPT-350M has the lowest response latency")["Computed"].value == 95.48


def test_better_in_counts_columns_and_less_is_better_in_a_time(copied: Path) -> None:
    edit(
        copied,
        "gsfs",
        'gsfs,III,GSFS (Proposed),"Latency, client model (avg)",34.69',
        'gsfs,III,GSFS (Proposed),"Latency, client model (avg)",74.69',
    )
    found = audit(copied, "gsfs").set_index("Claim or row")
    assert (
        found.loc["GSFS outperforms FedAvg in accuracy, F1, latency and requests a minute, central and client"][
            "Computed"
        ].value
        == 7
    )


def test_the_first_finding_counts_the_claims(gsfs: pd.DataFrame, edge_fit: pd.DataFrame) -> None:
    assert gsfs.attrs["findings"][:2] == [
        "16 claims: 14 hold, 1 within rounding only, 1 fails.",
        "Section I, GSFS over FedAvg: accuracy, client model: printed 1.02, computed 1.49.",
    ]
    assert edge_fit.attrs["findings"][0] == "11 claims: 11 hold, 0 within rounding only, 0 fail."


def test_it_is_written_where_nothing_ran(tmp_path: Path) -> None:
    for name in ("gsfs-audit", "edge-fit-audit"):
        build.table(name, fake.experiment(), tmp_path, fake.PUBLISHED)
        text = (tmp_path / "tables" / f"{name}.md").read_text()
        assert "does not hold" in text
        assert "- 1" in text, "the findings are a list"
        assert "ynthetic data" not in text, "what a paper prints is not synthetic"


def test_a_claim_about_an_unknown_cell_or_rule_is_refused_by_line(copied: Path) -> None:
    edit(copied, "claims", "highest,II | OPT-1.3b | Precision", "highest,II | OPT-1.4b | Precision")
    with pytest.raises(FedbenchError, match=r"no published cell 'II \| OPT-1\.4b \| Precision'") as error:
        audit(copied, "gsfs")
    assert "claims.csv:10" in str(error.value)
    edit(copied, "claims", "highest,II | OPT-1.4b | Precision", "greatest,II | OPT-1.3b | Precision")
    with pytest.raises(FedbenchError, match=r"claims\.csv:10.*no rule 'greatest'"):
        claims.read(copied, "gsfs")
