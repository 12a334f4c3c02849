"""Figures and the page: there, deterministic, self-contained, and honest about synthetic data."""

import re
from html.parser import HTMLParser
from pathlib import Path

import fake_results as fake
import pytest

from fedbench.errors import FedbenchError
from fedbench.reporting import build
from fedbench.reporting.contents import figure_names, table_names
from fedbench.reporting.figures import draw
from fedbench.reporting.results import Results

VOID = {"meta", "br", "img", "link", "hr", "input"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fake.build(tmp_path_factory.mktemp("results"), seeds=2)
    build.figures(fake.experiment(), folder, fake.PUBLISHED)
    build.tables(fake.experiment(), folder, fake.PUBLISHED)
    return folder


def test_every_figure_is_drawn_as_svg_and_png(folder: Path) -> None:
    for name in figure_names(fake.experiment()):
        assert (folder / "figures" / f"{name}.svg").read_text().lstrip().startswith("<?xml")
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_data_draw_the_same_bytes(folder: Path) -> None:
    paths = [folder / "figures" / f"gsfs-strategies.{suffix}" for suffix in ("svg", "png")]
    before = [path.read_bytes() for path in paths]
    build.figure("gsfs-strategies", fake.experiment(), folder, fake.PUBLISHED)
    assert [path.read_bytes() for path in paths] == before


def test_figures_can_be_drawn_when_every_run_failed(tmp_path: Path) -> None:
    for strategy in fake.STRATEGIES:
        spec = fake.run_spec(
            f"gsfs-{strategy}", procedure="federated", model=fake.model(), strategy=fake.strategy(strategy)
        )
        fake.write_run(tmp_path / "runs", spec, [], message="diverged")
    fake.score_all(tmp_path)
    build.figures(fake.experiment(), tmp_path, fake.PUBLISHED)
    build.tables(fake.experiment(), tmp_path, fake.PUBLISHED)
    page = build.page(fake.experiment(), tmp_path, "a: 1", {}).read_text()
    assert "0 of 3" in page
    assert "diverged" in page


def test_each_partition_has_panels_of_its_own(tmp_path: Path) -> None:
    partitions = ("iid", "dirichlet", "device")
    results = Results.read(fake.build(tmp_path, seeds=1, partitions=partitions))
    experiment = fake.experiment(partitions=partitions)
    for name, panels in (("gsfs-fig2", 4), ("gsfs-strategies", 6), ("gsfs-budget", 6), ("gsfs-uploads", 4)):
        figure = draw(name, experiment, results, fake.PUBLISHED)
        titles = [panel.get_title(loc="left") for panel in figure.axes]
        assert len(titles) == panels, name
        for title in ("IID", "Dirichlet (α = 0.5)", "by device"):
            assert any(title in text for text in titles), f"{name}: {title}"


def test_the_budget_figure_ends_where_the_histories_end(folder: Path) -> None:
    figure = draw("gsfs-budget", fake.experiment(), Results.read(folder), fake.PUBLISHED)
    left, right = figure.axes
    fedavg = next(line for line in left.lines if line.get_label().startswith("FedAvg"))
    assert fedavg.get_xdata()[0] == 0
    assert fedavg.get_xdata()[-1] == pytest.approx(10 * 5 * (2**19 + 2**19) / 2**20)  # ten rounds, five clients
    assert max(right.lines[0].get_xdata()) == 10, "modelled seconds"


def test_upload_marks_are_counted_by_trigger(folder: Path) -> None:
    results = Results.read(folder)
    (_, history), *_ = results.select("gsfs", "federated", strategy="gsfs").histories()
    figure = draw("gsfs-uploads", fake.experiment(), results, fake.PUBLISHED)
    panel = next(panel for panel in figure.axes if panel.get_title(loc="left").startswith("GSFS"))
    sent = history[(history["phase"] == "train") & history["uploaded"].eq(True)]
    drawn = {c.get_label(): len(c.get_offsets()) for c in panel.collections}
    assert drawn == {f"trigger: {name}": n for name, n in sent["trigger"].value_counts().items()}
    assert panel.get_title(loc="left") == f"GSFS · Dirichlet (α = 0.5): {len(sent)} of 50"


@pytest.mark.parametrize("label", ["gsfs-minilm-s0", "gsfs-gsfs-dirichlet-s0", "gsfs-smollm2-s0"])
def test_loss_curves_of_any_run(folder: Path, tmp_path: Path, label: str) -> None:
    (run,) = (folder / "runs").glob(f"{label}-????????")
    build.loss_curve(run, tmp_path / "curve")
    text = (tmp_path / "curve.svg").read_text()
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "synthetic data" in text
    assert ("not run" in text) is (label == "gsfs-smollm2-s0"), "a failed run has no curve, and says so"


class Balance(HTMLParser):
    """Checks that tags close in order and gathers identifiers."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for key, value in attrs if key == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for key, value in attrs if key == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes the wrong element"


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    provenance = {"commit": "abc", "host": {"cores": 2}, "argv": ["snakemake", "<x>"]}
    return build.page(fake.experiment(), folder, "title: <b>\n", provenance).read_text()


def test_the_page_holds_every_table_and_figure(page: str) -> None:
    figures = [f"figure-{name}" for name in figure_names(fake.experiment())]
    for name in (*table_names(fake.experiment()), *figures):
        assert f'id="{name}"' in page, name
    assert page.count('<figure class="table">') == len(table_names(fake.experiment()))
    assert page.count("<svg") == len(figure_names(fake.experiment()))
    assert "Synthetic data." in page


def test_the_page_is_well_formed_and_no_identifier_is_used_twice(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    repeated = {name for name in parser.ids if parser.ids.count(name) > 1}
    assert not repeated


def test_every_reference_inside_the_page_has_a_target(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    targets = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page))
    assert {a or b for a, b in targets} <= set(parser.ids)


def test_the_page_is_self_contained(page: str) -> None:
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    assert "@import" not in page


def test_configuration_and_provenance_are_shown_and_escaped(page: str) -> None:
    assert "title: &lt;b&gt;" in page
    assert "<dt>commit</dt><dd>" in page
    assert "&lt;x&gt;" in page


def test_a_page_needs_its_tables(tmp_path: Path) -> None:
    fake.build(tmp_path, seeds=1)
    with pytest.raises(FedbenchError, match=r"gsfs-table1\.html"):
        build.page(fake.experiment(), tmp_path, "", {})
