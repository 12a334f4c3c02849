"""Figures and the page: there, deterministic, self-contained, and honest about synthetic data."""

import re
from html.parser import HTMLParser
from pathlib import Path

import fake_results as fake
import pytest

from fedbench.errors import FedbenchError
from fedbench.reporting import build
from fedbench.reporting.contents import figure_names, table_names

VOID = {"meta", "br", "img", "link", "hr", "input"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fake.build(tmp_path_factory.mktemp("results"))
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
    for name in (*table_names(fake.experiment()), *figure_names(fake.experiment())):
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
