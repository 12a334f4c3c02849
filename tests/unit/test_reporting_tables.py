"""The papers' tables and the ledgers: what a cell says, and the four forms of a table."""

import re
from pathlib import Path

import fake_results as fake
import pandas as pd
import pytest

from fedbench.errors import FedbenchError
from fedbench.reporting import build, gsfs_tables, writing
from fedbench.reporting.contents import table_names
from fedbench.reporting.results import NOT_MEASURED, NOT_RUN, Estimate, Measure, Results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake.build(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return Results.read(folder)


def frame(name: str, results: Results) -> pd.DataFrame:
    return build.table_frame(name, fake.experiment(), results, fake.PUBLISHED)


def test_table1_counts_each_part(results: Results) -> None:
    table = frame("gsfs-table1", results).set_index("Dataset part")
    assert [cell.value for cell in table["Number of samples"]] == [2800, 800, 400, 4000]
    assert str(table.loc["Training set", "Percentage"]) == "70.00"


def test_table2_holds_models_and_baselines_per_flow_and_per_text(results: Results) -> None:
    table = frame("gsfs-table2", results)
    assert list(table["Model"].unique()) == ["MiniLM-L6", "SmolLM2-135M-Instruct", "Gradient boosting (raw columns)"]
    assert list(table["per"].unique()) == ["flow", "distinct text"]
    row = table.iloc[0]
    assert isinstance(row["Accuracy"], Estimate)
    assert row["Accuracy"].low < row["Accuracy"].value < row["Accuracy"].high
    assert row["Response latency (ms)"].value == 12.5
    assert table.iloc[1]["Response latency (ms)"] == "", "latency is of a run, not of a text"


def test_a_failed_run_reads_not_run_with_its_reason(results: Results) -> None:
    row = frame("gsfs-table2", results).query("Model == 'SmolLM2-135M-Instruct' and per == 'flow'").iloc[0]
    assert row["Accuracy"] == NOT_RUN
    assert row["Response latency (ms)"] == NOT_RUN
    assert row["seeds"] == 0
    assert row["note"] == "not run: seed 0: out of memory: needs 6.1 GiB, has 4.0 GiB"


def test_a_run_that_is_not_there_reads_not_run(results: Results) -> None:
    scarce = Results(results.folder, results.scores, results.runs[results.runs["strategy"] != "gsfs"])
    row = gsfs_tables.table3(fake.experiment(), scarce).query("Strategy == 'gsfs' and per == 'flow'").iloc[0]
    assert row["Accuracy, central"] == NOT_RUN
    assert row["note"] == "not run: no run in this result set"


def test_a_missing_seed_is_noted_and_not_counted(results: Results) -> None:
    scarce = Results(results.folder, results.scores, results.runs[results.runs["label"] != "gsfs-gsfs-dirichlet-s1"])
    row = gsfs_tables.table3(fake.experiment(), scarce).query("Strategy == 'GSFS' and per == 'flow'").iloc[0]
    assert row["seeds"] == row["Accuracy, central"].seeds == 2
    assert row["note"].startswith("not run: seed 1: no run in this result set; energy not measured")


def test_table3_is_mean_and_standard_deviation_over_seeds(results: Results) -> None:
    row = frame("gsfs-table3", results).query("Strategy == 'FedAvg' and per == 'flow'").iloc[0]
    group = results.select("gsfs", "federated", strategy="fedavg")
    seconds = group.by_seed(Measure("central_seconds"), "flow")["value"]
    assert row["Latency, central (s, modelled)"].value == pytest.approx(seconds.mean())
    assert row["Latency, central (s, modelled)"].sd == pytest.approx(seconds.std(ddof=1))
    assert row["Requests a minute, central (modelled)"].value == pytest.approx((60 / seconds).mean())
    assert row["seeds"] == 3


def test_table3_shows_the_worst_client_and_the_deviation_over_clients(results: Results) -> None:
    row = frame("gsfs-table3", results).query("Strategy == 'GSFS' and per == 'flow'").iloc[0]
    scores = results.scores.query("strategy == 'gsfs' and metric == 'accuracy' and unit == 'flow' and client >= 0")
    by_seed = scores.groupby("seed")["value"]
    assert by_seed.size().tolist() == [5, 5, 5]
    assert row["Accuracy, worst client"].value == pytest.approx(by_seed.min().mean())
    assert row["Accuracy, deviation over clients"].value == pytest.approx(by_seed.std(ddof=0).mean())
    assert row["Accuracy, worst client"].value < row["Accuracy, client"].value


def test_table3_shows_bytes_both_ways_and_global_versions(results: Results) -> None:
    table = frame("gsfs-table3", results).query("Strategy == 'GSFS'")
    flow, text = table.iloc[0], table.iloc[1]
    assert flow["Downloaded (MiB)"].value == pytest.approx(17_000_000 / 2**20)
    assert (flow["Global versions"].value, flow["Global versions"].sd) == (9, 0)
    assert (text["Downloaded (MiB)"], text["Global versions"], text["Energy (J a run)"]) == ("", "", "")


def test_joules_that_nothing_measured_are_not_a_number_and_the_reason_is_given(results: Results) -> None:
    row = frame("gsfs-table3", results).iloc[0]
    assert row["Energy (J a run)"] == NOT_MEASURED
    assert row["note"] == "energy not measured: no meter"


def test_measured_joules_are_shown(tmp_path: Path) -> None:
    for seed, joules in enumerate((100.0, 140.0)):
        spec = fake.run_spec(
            f"gsfs-gsfs-s{seed}", seed=seed, procedure="federated", model=fake.model(), strategy=fake.strategy("gsfs")
        )
        rows = fake.predictions(["a", "b"], ["a", "a"])
        fake.write_run(tmp_path / "runs", spec, rows, cost=fake.usage(joules=joules, joules_reason=None))
    fake.score_all(tmp_path)
    row = frame("gsfs-table3", Results.read(tmp_path)).query("Strategy == 'GSFS' and per == 'flow'").iloc[0]
    assert (row["Energy (J a run)"].value, row["Energy (J a run)"].seeds) == (120, 2)
    assert "energy" not in row["note"]


def test_each_partition_has_its_rows_and_the_first_stands_beside_the_paper(tmp_path: Path) -> None:
    partitions = ("iid", "device")
    results = Results.read(fake.build(tmp_path, seeds=1, partitions=partitions))
    experiment = fake.experiment(partitions=partitions)
    table = build.table_frame("gsfs-table3", experiment, results, fake.PUBLISHED)
    assert len(table) == 2 * 3 * 2
    assert list(table["Clients"].unique()) == ["IID", "by device"]
    for partition, title in (("iid", "IID"), ("device", "by device")):
        row = table.query(f"Strategy == 'GSFS' and per == 'flow' and Clients == '{title}'").iloc[0]
        scores = results.scores.query("metric == 'accuracy' and scope == 'central' and unit == 'flow'")
        (value,) = scores[scores["run"].str.startswith(f"gsfs-gsfs-{partition}")]["value"]
        assert row["Accuracy, central"].value == pytest.approx(value)
    verdicts = build.table_frame("gsfs-table3-verdict", experiment, results, fake.PUBLISHED).set_index(
        ["row", "measure"]
    )
    ours = verdicts.loc[("GSFS (Proposed)", "Accuracy, central"), "ours"]
    first = table.query("Strategy == 'GSFS' and per == 'flow' and Clients == 'IID'").iloc[0]
    assert ours.value == first["Accuracy, central"].value
    assert "clients dealt out by iid" in build.captions.table(experiment, "gsfs-table3-verdict")


def test_results_without_a_partition_are_of_the_only_one(results: Results) -> None:
    old = Results(results.folder, results.scores, results.runs.drop(columns="partition"))
    assert len(old.select("gsfs", "federated", strategy="gsfs", partition="iid").runs) == 3


def test_local_only_is_the_mean_over_clients(results: Results) -> None:
    row = frame("edge-fit-table3", results).query("`Training method` == 'each client alone'").iloc[0]
    scores = results.scores.query("procedure == 'local-only' and metric == 'accuracy'")
    clients = scores[scores["client"] >= 0]["value"]
    assert len(clients) == 5
    assert row["Accuracy"].value == pytest.approx(clients.mean())


def test_table4_reads_not_run_where_no_gpu_was(results: Results) -> None:
    ((_, row),) = frame("edge-fit-table4", results).iterrows()
    assert row["Client VRAM (GiB)"] == NOT_RUN
    assert "no federated run on a GPU" in row["note"]
    assert row["Peak resident memory, whole process (MiB)"].value == 900
    assert row["Edge-FIT F1"].value > row["Base F1 (zero-shot)"].value


def test_ledger_shows_what_each_step_did_to_each_class(results: Results) -> None:
    table = frame("data-iot23", results)
    assert list(table.columns) == ["Stage", "Step", "Before", "After", "Benign", "DDoS", "C&C", "Okiru", "note"]
    sample = table[table["Step"] == "sample"].iloc[0]
    assert (sample["Before"].value, sample["After"].value, sample["Benign"].value) == (4050, 4000, 2050)
    assert "120 × label in lower case" in set(table["note"])


def test_runs_table_lists_every_run_and_why_one_failed(results: Results) -> None:
    table = frame("runs", results)
    assert len(table) == len(results.runs)
    assert table[table["Status"] == "failed"]["note"].tolist() == ["out of memory: needs 6.1 GiB, has 4.0 GiB"]


def test_every_table_is_written_in_four_forms_and_says_synthetic(folder: Path) -> None:
    build.tables(fake.experiment(), folder, fake.PUBLISHED)
    names = [name for name in table_names(fake.experiment()) if not name.endswith(("-audit", "-memory"))]  # of no data
    assert {"gsfs-table1", "gsfs-table3-verdict", "edge-fit-table4", "data-iot23", "leakage", "runs"} <= set(names)
    for name in names:
        for suffix in ("md", "tex", "html"):
            text = (folder / "tables" / f"{name}.{suffix}").read_text()
            assert "synthetic" in text.casefold(), f"{name}.{suffix}"
        assert len(pd.read_csv(folder / "tables" / f"{name}.csv")) > 0
    assert {path.suffix for path in (folder / "tables").iterdir()} == {".md", ".csv", ".tex", ".html"}


def test_real_data_are_not_called_synthetic(folder: Path, tmp_path: Path) -> None:
    experiment = fake.experiment("mirror")
    table = build.table_frame("gsfs-table1", experiment, Results.read(folder), fake.PUBLISHED)
    writing.write(table, tmp_path / "t", build.captions.table(experiment, "gsfs-table1"))
    assert "synthetic" not in (tmp_path / "t.md").read_text().casefold()


CELLS = pd.DataFrame(
    {"name": ["a_b & |c|", "x"], "F1": [Estimate(0.123456, 0.1, 0.2, 0.01, 3), NOT_RUN], "note": ["", "no <gpu>"]}
)


def test_csv_is_raw_and_markdown_is_rounded(tmp_path: Path) -> None:
    writing.write(CELLS, tmp_path / "t", "A caption.")
    csv = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert list(csv.columns) == ["name", "F1", "F1 low", "F1 high", "F1 sd", "note"]
    assert list(csv["F1"]) == ["0.123456", "not run"]
    markdown = (tmp_path / "t.md").read_text()
    assert markdown.startswith("A caption.\n\n|")
    assert "0.1235 ± 0.0100 [0.1000, 0.2000]" in markdown
    assert "a_b & \\|c\\|" in markdown


def test_latex_is_a_booktabs_table_with_escaped_text(tmp_path: Path) -> None:
    writing.write(CELLS, tmp_path / "t", "50 % of A_B.")
    text = (tmp_path / "t.tex").read_text()
    for part in (r"\toprule", r"\bottomrule", r"\caption{50 \% of A\_B.}", r"\label{tab:t}", r"a\_b \& |c|", r"$\pm$"):
        assert part in text, part
    assert text.isascii()


def test_html_escapes_text_and_marks_what_did_not_run(tmp_path: Path) -> None:
    writing.write(CELLS, tmp_path / "t", "A < B")
    text = (tmp_path / "t.html").read_text()
    assert "A &lt; B" in text
    assert "no &lt;gpu&gt;" in text
    assert '<td class="not-run">not run</td>' in text
    assert re.search(r"<b>0\.1235</b>", text)


def test_a_table_of_the_other_study_is_refused(folder: Path) -> None:
    with pytest.raises(FedbenchError, match="no table 'edge-fit-table3'"):
        build.table("edge-fit-table3", fake.experiment(edge_fit=None), folder, fake.PUBLISHED)


def test_tables_need_scores(tmp_path: Path) -> None:
    with pytest.raises(FedbenchError, match=r"scores\.parquet"):
        build.table("gsfs-table2", fake.experiment(), tmp_path, fake.PUBLISHED)


def test_columns_that_share_what_stands_before_the_comma_share_a_heading() -> None:
    table = pd.DataFrame({"per": ["x"], "F1 (macro), central": [Estimate(1)], "F1 (macro), client": [Estimate(2)]})
    text = writing.html(table, "C")
    assert '<th scope="colgroup" class="group" colspan="2">F1 (macro)</th>' in text
    assert '<th scope="col" rowspan="2">Per</th>' in text
    assert '<th scope="col" class="number">central</th>' in text


def test_findings_stand_between_caption_and_table(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [Estimate(-0.5, digits=1, remark="k")]})
    table.attrs["findings"] = ["1 < 2.", "So it is."]
    writing.write(table, tmp_path / "t", "A caption.")
    assert (tmp_path / "t.md").read_text().startswith("A caption.\n\n- 1 < 2.\n- So it is.\n\n|")
    page = (tmp_path / "t.html").read_text()
    assert '<ul class="findings"><li>1 &lt; 2.</li><li>So it is.</li></ul>' in page
    assert "<b>−0.5</b> <small>(k)</small>" in page
    assert "So it is." in (tmp_path / "t.tex").read_text()
