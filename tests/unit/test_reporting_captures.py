"""The table of captures: published beside parsed; absent where data are made."""

import pandas as pd
import pytest
from fake_results import PUBLISHED, experiment

from fedbench.reporting import build, captions, page
from fedbench.reporting.contents import table_names
from fedbench.reporting.results import NOT_RUN, Results

CSV = """capture,device,class,published,parsed,verdict
CTU-IoT-Malware-Capture-34-1,Mirai,all flows,23145,23144,differs
CTU-IoT-Malware-Capture-34-1,Mirai,DDoS,14394,14394,equal
mixed-sample,,all flows,,10000,not published
"""


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "data" / "iot23"
    folder.mkdir(parents=True)
    (folder / "captures.csv").write_text(CSV)
    return Results(tmp_path, pd.DataFrame(), pd.DataFrame())


def test_it_sets_parsed_beside_published(results):
    table = build.table_frame("captures", experiment("mirror"), results, PUBLISHED)
    assert list(table.columns) == ["Capture", "Malware or device", "Class", "Published", "Parsed", "Verdict"]
    first = table.iloc[0]
    assert (first["Published"].value, first["Parsed"].value, first["Verdict"]) == (23145, 23144, "differs")
    assert str(first["Published"]) == "23,145"
    last = table.iloc[2]
    assert (last["Malware or device"], last["Published"], last["Parsed"].value) == ("", "", 10_000)


def test_it_is_written_in_every_format(results, tmp_path):
    build.write(
        build.table_frame("captures", experiment("mirror"), results, PUBLISHED),
        tmp_path / "tables" / "captures",
        captions.table(experiment("mirror"), "captures"),
    )
    written = {path.suffix: path.read_text() for path in (tmp_path / "tables").iterdir()}
    assert set(written) == {".md", ".csv", ".tex", ".html"}
    for text in written.values():
        assert "CTU-IoT-Malware-Capture-34-1" in text
        assert "differs" in text
    assert "synthetic" not in written[".md"].casefold()


def test_it_says_so_where_nothing_was_compared(tmp_path):
    table = build.table_frame(
        "captures", experiment("mirror"), Results(tmp_path, pd.DataFrame(), pd.DataFrame()), PUBLISHED
    )
    assert table.iloc[0]["Capture"] == NOT_RUN


def test_there_is_none_for_data_that_the_project_made():
    assert "captures" in table_names(experiment("mirror"))
    assert "captures" not in table_names(experiment("synthetic"))
    assert "captures" not in table_names(experiment("mirror", gsfs=None))


def test_the_page_shows_it_among_the_data():
    assert page._section("captures") == "data"
    assert captions.title("captures").startswith("Captures")
