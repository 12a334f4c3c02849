"""Work that was cut off goes on where it was, and ends in the same bytes as if nothing had happened."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.files import read_json
from fedbench.instructions import schema, self_instruct
from fedbench.instructions.journal import Journal
from fedbench.instructions.teacher import TemplateTeacher
from fedbench.spec import InstructionsSpec

ENTRY = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20), max_size=3)


def test_entries_come_back_in_order(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl", "key")
    assert journal.load() == []
    journal.append({"a": "\u2028 é\n"})
    journal.append({"b": None})
    assert Journal(tmp_path / "journal.jsonl", "key").load() == [{"a": "\u2028 é\n"}, {"b": None}]
    journal.clear()
    assert not list(tmp_path.iterdir())


@settings(deadline=None)
@given(st.lists(ENTRY, max_size=4), ENTRY, st.data())
def test_a_line_that_a_crash_cut_short_is_dropped_and_the_others_stay(tmp_path_factory, entries, after, data):
    journal = Journal(tmp_path_factory.mktemp("torn") / "journal.jsonl", "key")
    sizes = []
    for entry in entries:
        journal.append(entry)
        sizes.append(journal.path.stat().st_size)
    if not entries:
        return
    cut = data.draw(st.integers(0, sizes[-1]))
    journal.path.write_bytes(journal.path.read_bytes()[:cut])
    whole = [entry for entry, size in zip(entries, sizes, strict=True) if size <= cut]
    assert journal.load() == whole
    journal.append(after)
    assert journal.load() == [*whole, after]


@pytest.mark.parametrize("content", [b"", b"\x00\xff\n", b"[1]\n", b'{"key": "other"}\n{"a": 1}\n'])
def test_a_journal_of_other_work_or_a_damaged_one_is_not_used(tmp_path, content):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    assert Journal(path, "key").load() == []
    assert not path.exists()


def prepare(folder: Path) -> Path:
    row = {"row_id": 0, "instruction": "What is love?", "context": "", "response": "It is.", "category": "open_qa"}
    schema.write(schema.table([row | {"source": "dolly"}], schema.FILTERED), folder / "filtered.parquet")
    return folder


def augment(folder: Path, count: int = 150, seed: int = 0) -> tuple[bytes, bytes]:
    spec = InstructionsSpec(source={"kind": "synthetic"}, self_instruct={"count": count})
    self_instruct.augment(folder / "filtered.parquet", spec, seed, folder / "out.parquet", folder / "ledger.json")
    return (folder / "out.parquet").read_bytes(), (folder / "ledger.json").read_bytes()


class Slow(TemplateTeacher):
    """Counts the candidates that are asked for, in batches of 10, and stops the work at some point."""

    batch = 10

    def __init__(self, last: int | None = None, stop: BaseException | None = None) -> None:
        self.asked, self.last, self.stop = 0, last, stop

    def propose(self, examples, rngs):
        if self.last is not None and self.asked >= self.last:
            if self.stop:
                raise self.stop
            signal.raise_signal(signal.SIGKILL)
        self.asked += len(examples)
        return super().propose(examples, rngs)


def test_a_killed_job_ends_in_the_same_bytes_and_does_nothing_twice(tmp_path, monkeypatch):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        prepare(tmp_path / name)
    undisturbed = augment(tmp_path / "whole")
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "import test_instructions_journal as test\n"
        "test.self_instruct.make_teacher = lambda spec, snapshot: test.Slow(last=60)\n"
        "test.augment(Path(sys.argv[1]))\n"
    )
    paths = [str(Path(__file__).parent), str(Path(self_instruct.__file__).parents[2])]
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "killed"), *paths], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "out.parquet").exists()
    (journal,) = (tmp_path / "killed").glob("*.jsonl")
    kept = sum(len(json.loads(line)["rows"]) for line in journal.read_text().splitlines()[1:])
    assert 50 < kept <= 60 + len(self_instruct.SEED_TASKS)
    journal.write_bytes(journal.read_bytes() + b'{"attempt": 70, "in_v')  # as if the crash had come while writing
    rest = Slow()
    monkeypatch.setattr(self_instruct, "make_teacher", lambda spec, snapshot: rest)
    assert augment(tmp_path / "killed") == undisturbed
    attempts = read_json(tmp_path / "killed" / "ledger.json")["attempts"]
    assert attempts - 60 <= rest.asked < attempts - 60 + Slow.batch
    assert not list((tmp_path / "killed").glob("*.jsonl"))


def test_another_seed_or_count_or_base_set_starts_anew(tmp_path, monkeypatch):
    changes = {"seed": {"seed": 1}, "count": {"count": 149}, "base": {}}
    for name, change in changes.items():
        folder = tmp_path / name
        folder.mkdir()
        prepare(folder)
        broken = Slow(last=50, stop=KeyboardInterrupt())
        monkeypatch.setattr(self_instruct, "make_teacher", lambda spec, snapshot, broken=broken: broken)
        with pytest.raises(KeyboardInterrupt):
            augment(folder)
        if name == "base":
            row = {"row_id": 0, "instruction": "What?", "context": "", "response": "A.", "category": "open_qa"}
            schema.write(schema.table([row | {"source": "dolly"}], schema.FILTERED), folder / "filtered.parquet")
        fresh = Slow()
        monkeypatch.setattr(self_instruct, "make_teacher", lambda spec, snapshot, fresh=fresh: fresh)
        augment(folder, **change)
        assert fresh.asked >= read_json(folder / "ledger.json")["attempts"]


def test_what_an_attempt_gives_does_not_hang_on_the_size_of_a_batch(tmp_path, monkeypatch):
    prepare(tmp_path)
    files = []
    for batch in (1, 7, 100):
        teacher = TemplateTeacher()
        monkeypatch.setattr(teacher, "batch", batch, raising=False)
        monkeypatch.setattr(self_instruct, "make_teacher", lambda spec, snapshot, teacher=teacher: teacher)
        files.append(augment(tmp_path, count=90))
    assert files[0] == files[1] == files[2]


def test_the_shown_examples_are_of_every_category_in_the_long_run():
    drawn = [self_instruct._shown(random.Random(k)) for k in range(500)]
    categories = {task.category for task in self_instruct.SEED_TASKS}
    assert {self_instruct.SEED_TASKS[shown[0]].category for shown in drawn} == categories
