"""The code digest: edits that matter change it, edits that do not leave it alone."""

from pathlib import Path

import pytest

from fedbench import digest as module
from fedbench.digest import code_digest


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "bench"
    (folder / "flows").mkdir(parents=True)
    for name, text in {
        "__init__.py": "",
        "spec.py": "KEYS = 1\n",
        "clock.py": "def now():\n    return 0\n",
        "plot.py": "def draw():\n    return 1\n",
        "flows/__init__.py": "",
        "flows/clean.py": "from bench.spec import KEYS\ndef clean():\n    from bench import clock\n    clock.now()\n",
        "flows/other.py": "X = 1\n",
    }.items():
        (folder / name).write_text(text)
    return folder


def digest(package: Path, *modules: str, **options) -> str:
    module._digits.cache_clear()
    module._imports.cache_clear()
    return code_digest(*modules, package=package, **options)


def edit(package: Path, name: str, text: str) -> None:
    path = package / name
    path.write_text(path.read_text() + text)


@pytest.mark.parametrize("name", ["flows/clean.py", "clock.py", "flows/__init__.py"])
def test_an_edit_of_a_used_module_changes_the_digest(package, name):
    before = digest(package, "flows.clean")
    edit(package, name, "Y = 2\n")
    assert digest(package, "flows.clean") != before


@pytest.mark.parametrize("name", ["plot.py", "flows/other.py", "spec.py"])
def test_an_edit_of_an_unused_module_changes_nothing(package, name):
    before = digest(package, "flows.clean")
    edit(package, name, "Y = 2\n")
    assert digest(package, "flows.clean") == before


def test_comments_docstrings_and_formatting_do_not_count(package):
    before = digest(package, "clock")
    (package / "clock.py").write_text('"""Time."""\n\n# why\ndef now():\n    """Return it."""\n\n    return (0)\n')
    assert digest(package, "clock") == before


def test_a_whole_sub_package_can_be_named(package):
    before = digest(package, "flows")
    edit(package, "flows/other.py", "Y = 2\n")
    assert digest(package, "flows") != before


def test_what_a_stage_never_calls_can_be_left_out(package):
    before = digest(package, "flows.clean", without=["clock"])
    edit(package, "clock.py", "Y = 2\n")
    assert digest(package, "flows.clean", without=["clock"]) == before


def test_a_misspelt_module_is_an_error():
    with pytest.raises(FileNotFoundError, match="no module"):
        code_digest("flows.no_such_stage")
