"""TensorBoard event files: from a run's history once it is done, from its checkpoints while it still goes on.

`python -m fedbench.reporting.monitor results/<experiment> --follow` keeps them up to date beside a running workflow,
whose jobs know nothing of it; the finest step is what a checkpoint holds, a round or an epoch.
"""

import argparse
import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import safe_open
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from fedbench.files import read_json

FILE = "events.out.tfevents.0.fedbench"
SECONDS = 10.0


class Log:
    """The event file of one run; what has been written once is not written again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._stream = RecordWriter((folder / FILE).open("wb"))
        self._written: set[tuple[str, int]] = set()
        self.is_done = False
        self._write(Event(wall_time=0.0, file_version="brain.Event:2"))

    def update(self, history: pd.DataFrame, started: float, finished: float) -> None:
        """Write the scalars of a history that are new; their times lie evenly between two, as no row has its own."""
        last = max(1, int(history["step"].max())) if len(history) else 1
        for step, tag, value in scalars(history):
            if (tag, step) not in self._written:
                self._written.add((tag, step))
                self._add(scalar_pb(tag, value), step, started + (finished - started) * step / last)
        self._stream.flush()

    def describe(self, manifest: dict[str, Any]) -> None:
        """Write the specification of a finished run as text, and its main values as hyperparameters."""
        self.is_done = True
        run, started = manifest["run"], _seconds(manifest["started"])
        status = f"{manifest['status']} {manifest.get('message') or ''}".strip()
        text = f"{status}\n\n    " + json.dumps(run, indent=2).replace("\n", "\n    ")
        self._add(text_pb("specification", text), 0, started)
        self._add(hparams_pb(hyperparameters(run), trial_id=run["label"], start_time_secs=started), 0, started)
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _add(self, summary: Summary, step: int, at: float) -> None:
        self._write(Event(wall_time=at, step=step, summary=summary))

    def _write(self, event: Event) -> None:
        self._stream.write(event.SerializeToString())


def scalars(history: pd.DataFrame) -> list[tuple[int, str, float]]:
    """Return (step, tag, value) of a history, by step: rounds of a federated run, optimiser steps of any other.

    A federated run has means over clients, traffic cumulative over all clients and the server's own figures; without
    federation, each client that trains alone has its own curve.
    """
    found = _federated(history) if (history["round"] > 0).any() else _alone(history)
    return sorted((step, tag, value) for tag, step, value in found if value == value)


def hyperparameters(run: Mapping[str, Any]) -> dict[str, str | float]:
    """Return the values by which TensorBoard tells runs apart, from a run's specification in its manifest.

    It is read as it stands, so that results of an earlier version of this package can be looked at.
    """
    strategy, model = run.get("strategy") or {}, run.get("model") or {}
    training = run.get("training") or {} if model else {}  # a classical baseline has the keys and does not use them
    values = {
        "study": run.get("study"),
        "procedure": run.get("procedure"),
        "model": model.get("name") or run.get("baseline"),
        "strategy": strategy.get("name"),
        "partition": run.get("partition") if strategy else None,
        "seed": run.get("seed"),
        "learning rate": training.get("learning_rate"),
        "epochs": training.get("epochs"),
        "batch size": training.get("batch_size"),
        "quantisation": training.get("quantisation"),
        "LoRA rank": (training.get("lora") or {}).get("r"),
    }
    return {name: value for name, value in values.items() if value is not None}


def write_all(results: Path) -> None:
    """Write the event files of every finished run of `results` to its folder tensorboard."""
    logs: dict[str, Log] = {}
    refresh(results, logs)
    for log in logs.values():
        log.close()


def refresh(results: Path, logs: dict[str, Log]) -> None:
    """Bring the event files up to date; `logs` remembers what they hold from one call to the next."""
    finished = {path.parent.name: path.parent for path in sorted((results / "runs").glob("*/manifest.json"))}
    for name, folder in finished.items():
        if name in logs and logs[name].is_done:
            continue
        manifest, history = read_json(folder / "manifest.json"), pd.read_parquet(folder / "history.parquet")
        log = _log(results, name, logs)
        log.update(history, _seconds(manifest["started"]), _seconds(manifest["finished"]))
        log.describe(manifest)
    for name, history in _running(results / "checkpoints").items():
        if name not in finished and len(history):
            now = time.time()
            _log(results, name, logs).update(history, now, now)


def main() -> None:
    """Write the event files, and with --follow go on doing so until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m fedbench.reporting.monitor", description=__doc__)
    parser.add_argument("results", type=Path, help="results/<experiment>")
    parser.add_argument("--follow", action="store_true", help=f"look again every {SECONDS:g} seconds")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logs: dict[str, Log] = {}
    with contextlib.suppress(KeyboardInterrupt):
        refresh(arguments.results, logs)
        while arguments.follow:
            time.sleep(SECONDS)
            refresh(arguments.results, logs)


def _log(results: Path, name: str, logs: dict[str, Log]) -> Log:
    if name not in logs:
        logs[name] = Log(results / "tensorboard" / name)
    return logs[name]


def _running(folder: Path) -> dict[str, pd.DataFrame]:
    """Return, of each run with checkpoints, the history that they hold."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with contextlib.suppress(FileNotFoundError):  # the run has just finished: its history has it all
            with safe_open(path, framework="numpy") as stored:
                metadata = stored.metadata()
            facts = json.loads(metadata["facts"])
            rows.setdefault(metadata["key"], []).extend((facts.get("totals") or facts.get("alone"))["history"])
    columns = ["step", "round", "client", "phase", "loss", "accuracy", "bytes_up", "bytes_down"]
    columns += ["uploaded", "trigger", "virtual_seconds", "metrics"]
    return {name: pd.DataFrame(found).reindex(columns=columns) for name, found in rows.items()}


def _federated(history: pd.DataFrame) -> Iterator[tuple[str, int, float]]:
    clients, server = history[history["client"] >= 0], history[history["client"] == -1]
    exchanges = clients[clients["bytes_up"].notna()]
    by_round = exchanges.groupby("round")
    yield from _series("loss/train", exchanges.groupby("round")["loss"].mean())
    for quality in ("loss", "accuracy"):
        yield from _series(f"{quality}/validation", server.set_index("round")[quality])
        own = clients[clients["phase"] == "validation"]
        yield from _series(f"{quality}/validation, mean over clients", own.groupby("round")[quality].mean())
    for direction in ("up", "down"):
        sent = by_round[f"bytes_{direction}"].sum().cumsum() / 2**20
        yield from _series(f"traffic/MiB {direction}, all clients so far", sent)
    uploaded = exchanges["uploaded"].eq(True)
    yield from _series("uploads/clients", uploaded.groupby(exchanges["round"]).sum())
    for trigger, part in exchanges[uploaded & exchanges["trigger"].notna()].groupby("trigger"):
        if trigger:  # a strategy without triggers leaves it empty
            yield from _series(f"uploads/{trigger!s} trigger", part.groupby("round").size())
    yield from _series("clock/modelled seconds", server.set_index("round")["virtual_seconds"])
    for number, text in zip(server["round"], server["metrics"], strict=True):
        for key, value in json.loads(text).items() if isinstance(text, str) else ():
            if isinstance(value, (int, float)):
                yield f"server/{key}", int(number), float(value)


def _alone(history: pd.DataFrame) -> Iterator[tuple[str, int, float]]:
    for (client, phase), part in history.groupby(["client", "phase"]):
        who = "" if client == -1 else f", client {client}"
        for quality in ("loss", "accuracy"):
            yield from _series(f"{quality}/{phase}{who}", part.set_index("step")[quality])


def _series(tag: str, values: "pd.Series[Any]") -> Iterator[tuple[str, int, float]]:
    for step, value in values.dropna().items():
        yield tag, int(str(step)), float(value)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


if __name__ == "__main__":
    main()
