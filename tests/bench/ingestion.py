"""Benchmarks of the data layer: reading Zeek logs, against what others do with them, and sampling; `make bench`.

Part of `make bench`; writes results/bench/ingestion.md and .json. The log is capture 34-1 of the mirror that
config/experiments/real.yaml names, repeated to 300 MB and to 1.2 GB with a uid of its own for every row; where the
mirror is absent this says so and ends. Every measurement is a process of its own, imports included, and a whole turn
of them is repeated, so that a busy spell of the machine hits all; ratios are within a turn, medians are reported.

`pandas` is what public notebooks do; `zat` merely reads the log into a DataFrame, without labels; `polars` is a bare
scan with the tail split. None of them validates, counts, sorts or looks for duplicates.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

CONFIG, RESULTS = Path("config"), Path("results")
CAPTURE = "CTU-IoT-Malware-Capture-34-1/conn.log.labeled"
SMALL, LARGE, MB = 300, 1_200, 1_000_000
REPEATS = 3
ZAT = "zat==0.4.9"
FLOWS, SAMPLE = 23_000_000, 48_003
JSON_ROWS = 680_000  # 300 MB too
FIELDS = [
    *("ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration", "orig_bytes"),
    *("resp_bytes", "conn_state", "local_orig", "local_resp", "missed_bytes", "history"),
    *("orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes"),
]
TAIL = ("tunnel_parents", "label", "detailed_label")


# --- what is measured: each in a process of its own, with no import that it does not need -------------------------


def pandas(log: str, out: str) -> None:
    """Do what notebooks do: read_csv, split the tail on white space, to_parquet."""
    import pandas as pd

    frame = pd.read_csv(log, sep="\t", comment="#", names=[*FIELDS, "tail"], na_values="-", low_memory=False)
    frame[list(TAIL)] = frame.pop("tail").str.split(expand=True)
    frame.to_parquet(out)


def zat(log: str, _: str) -> None:
    """Read the log into a DataFrame."""
    from zat.log_to_dataframe import LogToDataFrame

    LogToDataFrame().create_dataframe(log)


def polars(log: str, out: str) -> None:
    """Scan, split the tail, write."""
    import polars as pl

    lines = pl.scan_csv(
        log,
        separator="\t",
        comment_prefix="#",
        has_header=False,
        new_columns=[*FIELDS, "tail"],
        quote_char=None,
        null_values="-",
        infer_schema_length=10_000,
    )
    tail = pl.col("tail").str.split_exact("   ", 2).struct.rename_fields(TAIL)
    lines.with_columns(tail.alias("tail")).unnest("tail").sink_parquet(out)


def sampling(flows: str, out: str) -> None:
    """Draw the curated sample of GSFS."""
    from fedbench.flows.sample import sample
    from fedbench.spec import FlowsSpec

    spec = FlowsSpec.model_validate({"source": {"kind": "official"}, "sample": SAMPLE})
    sample(Path(flows), spec, 0, Path(out), Path(f"{out}.json"))


# --- what it is measured on ---------------------------------------------------------------------------------------


def capture() -> Path:
    """Return where the mirror has the log."""
    import yaml

    source = yaml.safe_load((CONFIG / "experiments" / "real.yaml").read_text())["gsfs"]["flows"]["source"]
    return Path(source["path"]) / CAPTURE


def repeat(log: Path, megabytes: int, target: Path) -> int:
    """Write the rows of `log` again and again, the last four characters of each uid counting; returns the rows."""
    import numpy as np

    lines = log.read_bytes().splitlines(keepends=True)
    head, rows = ([line for line in lines if line.startswith(b"#") is comment] for comment in (True, False))
    starts = np.cumsum([0, *map(len, rows[:-1])])
    last = starts + [row.index(b"\t", row.index(b"\t") + 1) - 1 for row in rows]
    text = np.frombuffer(b"".join(rows), dtype=np.uint8).copy()
    digits = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
    times = -(-megabytes * MB // len(text))
    with target.open("wb") as stream:
        stream.writelines(line for line in head if not line.startswith(b"#close"))
        for number in range(times):
            for place in range(4):
                text[last - place] = digits[number // 62**place % 62]
            stream.write(text.data)
    return times * len(rows)


def typed_flows(log: Path, target: Path) -> int:
    """Write `FLOWS` typed flows, cleaned ones again and again; returns the rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from fedbench.flows.clean import clean

    one = target.with_suffix(".one")
    clean([("34-1", log)], one, target.with_suffix(".json"))
    flows = pq.read_table(one)
    block = pa.concat_tables([flows] * 8).drop_columns("row_id")
    rows = 0
    with pq.ParquetWriter(target, flows.schema, compression="zstd", compression_level=1) as writer:
        while rows < FLOWS:
            ids = pa.array(range(rows, rows + len(block)), pa.int64())
            writer.write_table(block.add_column(0, flows.schema.field("row_id"), ids))
            rows += len(block)
    return rows


def as_json_lines(flows: Path, target: Path) -> None:
    """Write cleaned flows as Zeek's JSON writer would, label columns included."""
    import polars as pl

    table = pl.scan_parquet(flows).head(JSON_ROWS).with_columns(pl.col("ts").dt.epoch("us") / 1e6)
    table = table.drop("row_id", "scenario", "file", "line").rename({"detailed_label": "detailed-label"})
    table.sink_ndjson(target)


# --- measuring ----------------------------------------------------------------------------------------------------


def measured(*command: str | Path, path: Path | None = None) -> dict[str, float]:
    """Run a command: its seconds, and the peak memory (MB; VmHWM, summed over the process tree)."""
    import psutil

    paths = os.pathsep.join([str(one) for one in (path, Path("workflow").resolve()) if one])
    with tempfile.TemporaryFile("w+") as errors:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": paths},
        )
        peaks: dict[int, int] = {}
        ended = threading.Event()
        watcher = threading.Thread(target=_watch, args=(psutil.Process(process.pid), peaks, ended))
        watcher.start()
        code = process.wait()
        seconds = time.perf_counter() - begun
        ended.set()
        watcher.join()
        if code:
            errors.seek(0)
            raise SystemExit(f"benchmark {command[:2]} failed:\n{errors.read()[-3000:]}")
    return {"seconds": seconds, "peak": sum(peaks.values()) * 1024 / MB}


def _watch(root, peaks: dict[int, int], ended: threading.Event) -> None:
    import psutil

    while not ended.wait(0.02):
        try:
            tree = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in tree:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                continue
            if "VmHWM:" in status:
                peaks[process.pid] = int(status.split("VmHWM:")[1].split()[0])


def install_zat(folder: Path) -> str | None:
    """Install zat alone, beside the pandas that is here; returns why it cannot be had, or None."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), ZAT]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if answer.returncode == 0 else (answer.stderr.strip().splitlines() or ["pip failed"])[-1]


def ours(log: Path, out: Path) -> dict[str, float]:
    """Measure `fedbench clean`, and see that no row was lost."""
    ledger = out.with_suffix(".ledger.json")
    found = measured("-m", "fedbench.cli", "clean", log, "--out", out, "--ledger", ledger)
    account = json.loads(ledger.read_text())
    if account["rows_kept"] != account["rows_read"]:
        raise SystemExit(f"{account['rows_quarantined']} rows of {log} were quarantined")
    return found | {"rows": account["rows_kept"], "mb_a_second": log.stat().st_size / MB / found["seconds"]}


def main() -> None:
    """Measure everything and write the tables."""
    from tabulate import tabulate

    from fedbench.files import write_json, write_text
    from fedbench.provenance import describe

    log = capture()
    if not log.is_file():
        print(f"ingestion: not run, {log} is not here (config/experiments/real.yaml says where the mirror lies)")
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        scratch = Path(name)
        logs = {size: scratch / f"{size}.log" for size in (SMALL, LARGE)}
        rows = {size: repeat(log, size, path) for size, path in logs.items()}
        not_run = install_zat(scratch / "zat")
        os.sync()  # the logs' own way to the disk is nobody's cost
        turns = []
        for _ in range(REPEATS):
            turn = {"ours": ours(logs[SMALL], scratch / "small.parquet")}
            for peer in ("pandas", "polars", *([] if not_run else ["zat"])):
                turn[peer] = measured(
                    __file__,
                    peer,
                    logs[SMALL],
                    scratch / f"{peer}.parquet",
                    path=scratch / "zat" if peer == "zat" else None,
                )
            turn["large"] = ours(logs[LARGE], scratch / "large.parquet")
            assert (turn["ours"]["rows"], turn["large"]["rows"]) == (rows[SMALL], rows[LARGE])
            turns.append(turn)
        as_json_lines(scratch / "small.parquet", scratch / "small.jsonl")
        flows = typed_flows(log, scratch / "flows.parquet")
        os.sync()
        for turn in turns:
            turn["json"] = ours(scratch / "small.jsonl", scratch / "json.parquet")
            turn["sampling"] = measured(__file__, "sampling", scratch / "flows.parquet", scratch / "sample.parquet")

    def median(name: str, figure: str) -> float:
        return statistics.median(turn[name][figure] for turn in turns)

    def ratio(over: str, under: str, figure: str = "seconds") -> float:
        return statistics.median(turn[over][figure] / turn[under][figure] for turn in turns)

    linear = ratio("large", "ours") * rows[SMALL] / rows[LARGE]
    table = [
        ["pandas recipe / ours, seconds", ratio("pandas", "ours"), ">= 4"],
        [
            "zat (only reads, no labels) / ours, seconds",
            f"not run: {not_run}" if not_run else ratio("zat", "ours"),
            ">= 1",
        ],
        ["bare polars scan / ours, seconds", ratio("polars", "ours"), ""],
        [f"our peak memory at {SMALL} MB, MB", median("ours", "peak"), "<= 600"],
        [f"our peak memory, {LARGE} MB / {SMALL} MB", ratio("large", "ours", "peak"), "<= 1.2"],
        [f"our seconds a MB, {LARGE} MB / {SMALL} MB", linear, "<= 1.1"],
    ]
    figures = tabulate(table, headers=["figure", "measured", "goal"], tablefmt="github", floatfmt=".3g")
    titles = {
        "ours": f"ours, {SMALL} MB",
        "large": f"ours, {LARGE} MB",
        "json": "ours, 300 MB of JSON lines",
        "pandas": f"pandas recipe, {SMALL} MB",
        "zat": f"zat, {SMALL} MB",
        "polars": f"bare polars scan, {SMALL} MB",
        "sampling": f"our sampling of {SAMPLE:,} of {flows:,} flows",
    }
    details = [
        [
            title,
            median(one, "seconds"),
            median(one, "mb_a_second") if "mb_a_second" in turns[0][one] else "",
            median(one, "peak"),
        ]
        for one, title in titles.items()
        if one in turns[0]
    ]
    headers = ["what", "seconds", "MB/s", "peak memory (MB)"]
    listing = tabulate(details, headers=headers, tablefmt="github", floatfmt=".2f")
    host = describe()["host"]
    note = (
        f"Medians of {REPEATS} turns, ratios within a turn; whole processes, imports included. Measured on: "
        f"{host['processor']}, {host['cores']} cores, load {os.getloadavg()[0]:.1f} at the end."
    )
    write_text(RESULTS / "bench" / "ingestion.md", f"{figures}\n\n{listing}\n\n{note}\n")
    write_json(RESULTS / "bench" / "ingestion.json", {"turns": turns, "zat_not_run": not_run, **describe()})
    print(figures)
    print(listing)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        {"pandas": pandas, "zat": zat, "polars": polars, "sampling": sampling}[sys.argv[1]](*sys.argv[2:])
