"""TensorBoard's event files hold what the histories hold, of finished runs and of those that still go on."""

import json
from pathlib import Path

import fake_results as fake
import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from fedbench.reporting import monitor
from fedbench.training.checkpoint import Checkpoint


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Read an event file back as TensorBoard does: tag -> step -> value."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    tags = [tag for tag in events.Tags()["tensors"] if "/" in tag and not tag.startswith("_")]
    found = {}
    for tag in tags:
        read = [(event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)]
        assert len({step for step, _ in read}) == len(read), f"{tag}: a step was written twice"
        found[tag] = dict(read)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fake.build(tmp_path_factory.mktemp("results"), seeds=1)
    monitor.write_all(folder)
    return folder


def run(folder: Path, label: str) -> tuple[dict[str, dict[int, float]], pd.DataFrame]:
    (path,) = (folder / "runs").glob(f"{label}-????????")
    return scalars(folder / "tensorboard" / path.name), pd.read_parquet(path / "history.parquet")


def test_every_run_has_an_event_file(folder: Path) -> None:
    assert {path.parent.name for path in (folder / "tensorboard").glob("*/*tfevents*")} == {
        path.name for path in (folder / "runs").iterdir()
    }


def test_a_federated_run_by_round(folder: Path) -> None:
    found, history = run(folder, "gsfs-gsfs-dirichlet-s0")
    train = history[history["phase"] == "train"]
    server = history[(history["client"] == -1) & history["accuracy"].notna()]
    assert found["loss/train"] == pytest.approx(train.groupby("round")["loss"].mean().to_dict(), rel=1e-6)
    assert found["accuracy/validation"] == pytest.approx(server.set_index("round")["accuracy"].to_dict(), rel=1e-6)
    sent = found["traffic/MiB up, all clients so far"]
    assert sent[10] == pytest.approx(train["bytes_up"].sum() / 2**20)
    assert list(sent.values()) == sorted(sent.values())
    assert found["uploads/clients"] == train.groupby("round")["uploaded"].sum().astype(float).to_dict()
    fired = sum(sum(found[f"uploads/{name} trigger"].values()) for name in ("performance", "gradient", "silence"))
    assert fired == train["uploaded"].sum()
    assert found["clock/modelled seconds"][10] == 10
    assert found["server/pool"] == dict.fromkeys((1, 3, 5, 7, 9), 2.0)


def test_a_run_without_rounds_by_step(folder: Path) -> None:
    found, history = run(folder, "gsfs-minilm-s0")
    train = history[history["phase"] == "train"].set_index("step")["loss"]
    assert found["loss/train"] == pytest.approx(train.to_dict(), rel=1e-6)
    assert set(found["accuracy/validation"]) == set(range(50, 301, 50))


def test_clients_that_train_alone_have_a_curve_each() -> None:
    history = pd.DataFrame(
        {
            "step": [1, 2, 1],
            "round": 0,
            "client": [0, 0, 1],
            "phase": "train",
            "loss": [3.0, 2.0, 5.0],
            "accuracy": np.nan,
        }
    )
    assert monitor.scalars(history) == [
        (1, "loss/train, client 0", 3.0),
        (1, "loss/train, client 1", 5.0),
        (2, "loss/train, client 0", 2.0),
    ]


def test_the_specification_and_why_a_run_failed_are_there(folder: Path) -> None:
    (path,) = (folder / "tensorboard").glob("gsfs-smollm2-s0-*")
    events = EventAccumulator(str(path)).Reload()
    (text,) = tensor_util.make_ndarray(events.Tensors("specification")[0].tensor_proto).reshape(-1)
    assert text.decode().startswith("failed out of memory: needs 6.1 GiB")
    assert '"label": "gsfs-smollm2-s0"' in text.decode()
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"smollm2" in content
    assert b"learning rate" in content


def test_a_running_run_is_shown_from_its_checkpoint_and_then_from_its_history(tmp_path: Path) -> None:
    whole = fake._rounds(np.random.default_rng(0), True)
    spec = fake.run_spec("gsfs-gsfs", procedure="federated", model=fake.model(), strategy=fake.strategy("gsfs"))
    checkpoint = Checkpoint(tmp_path / "checkpoints" / f"{spec.folder}.safetensors", spec.folder)
    logs: dict[str, monitor.Log] = {}
    for upto in (2, 5):
        part = [row for row in whole if row["round"] <= upto]
        checkpoint.save({"round": upto, "totals": {"history": part}}, {"global/w": np.zeros(2)})
        monitor.refresh(tmp_path, logs)
        found = scalars(tmp_path / "tensorboard" / spec.folder)
        assert set(found["loss/train"]) == set(range(1, upto + 1))
    checkpoint.clear()
    fake.write_run(tmp_path / "runs", spec, [], history=whole)
    monitor.refresh(tmp_path, logs)
    monitor.refresh(tmp_path, logs)
    found = scalars(tmp_path / "tensorboard" / spec.folder)
    assert set(found["loss/train"]) == set(range(1, 11))
    assert len(list((tmp_path / "tensorboard" / spec.folder).iterdir())) == 1


def test_a_training_alone_is_shown_from_its_checkpoint(tmp_path: Path) -> None:
    rows = [{"step": k, "round": 0, "client": -1, "phase": "train", "loss": 1.0 / k} for k in (1, 2, 4)]
    Checkpoint(tmp_path / "checkpoints" / "x.safetensors", "central-s0-01234567").save(
        {"epoch": 1, "alone": {"history": rows}}, {"adapter/w": np.zeros(1)}
    )
    logs: dict[str, monitor.Log] = {}
    monitor.refresh(tmp_path, logs)
    assert scalars(tmp_path / "tensorboard" / "central-s0-01234567")["loss/train"] == {1: 1.0, 2: 0.5, 4: 0.25}


def test_writing_again_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    (path,) = (folder / "tensorboard").glob("gsfs-minilm-s0-*/*")
    before = path.read_bytes()
    monitor.write_all(folder)
    assert path.read_bytes() == before


def test_results_of_an_earlier_version_can_be_looked_at() -> None:
    old = json.loads('{"label": "x", "study": "gsfs", "procedure": "baseline", "baseline": "majority", "seed": 3}')
    assert monitor.hyperparameters(old) == {
        "study": "gsfs",
        "procedure": "baseline",
        "model": "majority",
        "seed": 3,
    }
