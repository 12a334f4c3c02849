"""Synthetic IoT-23: logs in the original Zeek format, with its real quirks and published class mix, from a seed."""

from collections.abc import Callable, Mapping
from math import log
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from fedbench.files import atomic
from fedbench.flows.behaviours import BEHAVIOURS, PUBLISHED_FLOWS, Behaviour
from fedbench.flows.schema import COLUMNS, COUNTS
from fedbench.partition import largest_remainder

RARE: Final = 0.04
"""Smallest share of a class: at the published mix alone a few thousand rows would have no row of the rare classes."""

SCENARIOS: Final = tuple(
    [f"Synthetic-IoT-Malware-Capture-{n}" for n in range(1, 10)]
    + [f"Synthetic-Honeypot-Capture-{n}" for n in (1, 2)]
    + ["synthetic-mixed-sample"]
)
_BENIGN_ONLY: Final = {name for name in SCENARIOS if "Honeypot" in name}
_COPIED: Final = 0.05  # share of the first capture that the derived sample holds again, with the same uid
_START: Final = 1_545_400_000.0  # 2018-12-21, when the first captures were made
_CAPTURED: Final = 7_200.0  # seconds of each capture: dense enough for flows to overlap
_BASE62: Final = np.array(list("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"))

Row = dict[str, str]
Floats = npt.NDArray[np.float64]


def class_mix() -> dict[str, float]:
    """The published shares of the classes, none below `RARE`."""
    total = sum(PUBLISHED_FLOWS.values())
    rare = [name for name, count in PUBLISHED_FLOWS.items() if count < RARE * total]
    common = total - sum(PUBLISHED_FLOWS[name] for name in rare)
    left = 1 - RARE * len(rare)
    return {name: RARE if name in rare else left * count / common for name, count in PUBLISHED_FLOWS.items()}


def write_logs(folder: Path, rows: int, seed: int) -> list[tuple[str, Path]]:
    """Write `rows` flows (and a few copies with the same uid) as logs below `folder`; returns (scenario, path).

    Each scenario has one device. Like the published files, most logs have a `#fields` header and three spaces before
    the labels; some have CRLF line ends, lower-case labels and a suffix on `#close`, or `(empty)` tunnels; the last
    is a third party's sample: a plain header, tabs throughout, blanks for unset values, counts as floats, and flows
    of another scenario again.
    """
    rng = np.random.default_rng([seed, 0x107])
    flows: dict[str, list[Row]] = {name: [] for name in SCENARIOS}
    for name, count in zip(class_mix(), largest_remainder(rows, list(class_mix().values())), strict=True):
        made = [row for behaviour, part in _portions(name, count) for row in _flows(behaviour, part, name, rng)]
        rng.shuffle(made)
        homes = list(SCENARIOS) if name == "Benign" else [one for one in SCENARIOS if one not in _BENIGN_ONLY]
        homes.sort(key=lambda one: one not in _BENIGN_ONLY)  # first those that have no other class
        shares = rng.dirichlet([1.5] * len(homes))
        counts = largest_remainder(max(0, count - len(homes)), shares.tolist())
        for scenario, extra in zip(homes, counts, strict=True):  # every home gets one, so that no log is empty
            flows[scenario] += [made.pop() for _ in range(min(1 + extra, len(made)))]
    logs = []
    for index, scenario in enumerate(SCENARIOS):
        _place(flows[scenario], index, scenario, rng)
    copied = flows[SCENARIOS[0]][: int(_COPIED * len(flows[SCENARIOS[0]]))]
    for index, scenario in enumerate(SCENARIOS):
        style = _sample_of_third_party if scenario == SCENARIOS[-1] else _STYLES[index % len(_STYLES)]
        written = [*flows[scenario], *copied] if scenario == SCENARIOS[-1] else flows[scenario]
        # Zeek writes a connection when it ends, so logs are not sorted by the time of its start.
        written.sort(key=lambda row: float(row["ts"]) + (0.0 if row["duration"] == "-" else float(row["duration"])))
        path = folder / scenario / "conn.log.labeled"
        with atomic(path) as partial:
            partial.write_bytes(style(written))
        logs.append((scenario, path))
    return logs


def _portions(name: str, count: int) -> list[tuple[Behaviour, int]]:
    behaviours = BEHAVIOURS[name]
    return list(zip(behaviours, largest_remainder(count, [one.weight for one in behaviours]), strict=True))


def _log_uniform(rng: np.random.Generator, limits: tuple[float, float], count: int) -> Floats:
    low, high = np.log1p(limits[0]), np.log1p(limits[1])
    return np.asarray(np.expm1(rng.uniform(low, high, count)))


def _flows(kind: Behaviour, count: int, name: str, rng: np.random.Generator) -> list[Row]:
    """Make `count` flows of one behaviour, without addresses, uid and time."""
    packets = [np.rint(_log_uniform(rng, limits, count)).astype(int) for limits in kind.packets]
    payload = [np.rint(_log_uniform(rng, limits, count)).astype(int) for limits in kind.payload]
    headers = [rng.choice([40, 52, 60] if kind.proto == "tcp" else [28], count) for _ in range(2)]
    ports = np.where(rng.random(count) < kind.any_port, rng.integers(1, 65_536, count), rng.choice(kind.ports, count))
    histories = rng.choice(kind.histories, count)
    unset = kind.seconds is None
    # Log-uniform over small durations too: log1p would flatten milliseconds.
    seconds = (
        np.exp(rng.uniform(log(kind.seconds[0]), log(kind.seconds[1]), count)) if kind.seconds else np.zeros(count)
    )
    missed = np.where((payload[1] > 20_000) & (rng.random(count) < 0.3), 1448 * rng.integers(1, 6, count), 0)
    made = []
    for at in range(count):
        row = dict.fromkeys(COLUMNS, "-")
        row |= {
            "id.orig_p": "8" if kind.proto == "icmp" else str(rng.integers(32_768, 61_000)),
            "id.resp_p": str(ports[at]),
            "proto": kind.proto,
            "service": kind.service,
            "duration": "-" if unset else f"{seconds[at]:.6f}",
            "orig_bytes": "-" if unset else str(payload[0][at]),
            "resp_bytes": "-" if unset else str(payload[1][at]),
            "conn_state": kind.state,
            "missed_bytes": str(missed[at]),
            "history": str(histories[at]),
            "label": "Benign" if name == "Benign" else "Malicious",
            "detailed_label": "-" if name == "Benign" else name,
        }
        for side, sent, number, header in zip(("orig", "resp"), payload, packets, headers, strict=True):
            row[f"{side}_pkts"] = str(number[at])
            row[f"{side}_ip_bytes"] = str(number[at] * header[at] + (sent[at] if number[at] and not unset else 0))
        made.append(row)
    return made


def _place(rows: list[Row], index: int, scenario: str, rng: np.random.Generator) -> None:
    """Give the flows of a scenario their device, peers, uids and times, in place."""
    sensor, sensor6 = f"192.168.{1 + index // 4}.{190 + index}", f"fe80::{index + 1:x}:{sum(map(ord, scenario)):x}"
    rng.shuffle(rows)
    times = np.sort(_START + 86_400 * index + rng.uniform(0, _CAPTURED, len(rows)))
    uids = rng.choice(_BASE62, (len(rows), 17))
    peers = rng.integers(1, 255, (len(rows), 4))
    inbound = rng.random(len(rows)) < 0.05
    for at, row in enumerate(rows):
        ends = [sensor, ".".join(map(str, peers[at]))]
        if row["proto"] == "icmp" and at % 2:
            ends = [sensor6, "ff02::2"]
        elif inbound[at]:
            ends.reverse()
        row |= {
            "ts": f"{times[at]:.6f}",
            "uid": "C" + "".join(uids[at]),
            "id.orig_h": ends[0],
            "id.resp_h": ends[1],
        }


_HEAD = (
    r"#separator \x09",
    "#set_separator\t,",
    "#empty_field\t(empty)",
    "#unset_field\t-",
    "#path\tconn",
    "#open\t2019-03-15-14-50-49",
)
_CLOSE = "#close\t2019-03-15-14-50-54"
_PUBLISHED_NAMES = [name.replace("_label", "-label") for name in COLUMNS]


def _types() -> Mapping[str, str]:
    special = {
        "ts": "time",
        "id.orig_h": "addr",
        "id.resp_h": "addr",
        "id.orig_p": "port",
        "id.resp_p": "port",
        "proto": "enum",
        "duration": "interval",
        "local_orig": "bool",
        "local_resp": "bool",
        "tunnel_parents": "set[string]",
    }
    return {name: special.get(name, "count" if name in COUNTS else "string") for name in COLUMNS}


def _three_spaces(values: list[str]) -> str:
    return "\t".join(values[:-2]) + "   " + "   ".join(values[-2:])


def _published(rows: list[Row]) -> bytes:
    lines = [*_HEAD, "#fields\t" + _three_spaces(_PUBLISHED_NAMES), "#types\t" + _three_spaces(list(_types().values()))]
    lines += [_three_spaces([row[name] for name in COLUMNS]) for row in rows]
    return ("\n".join([*lines, _CLOSE]) + "\n").encode()


def _crlf_lower_case(rows: list[Row]) -> bytes:
    text = _published([row | {"label": row["label"].lower()} for row in rows])
    suffix = "   ".join(["", rows[-1]["label"].lower(), rows[-1]["detailed_label"]]).encode()
    return text.replace(_CLOSE.encode(), _CLOSE.encode() + suffix).replace(b"\n", b"\r\n")


def _empty_tunnels(rows: list[Row]) -> bytes:
    return _published([row | {"tunnel_parents": "(empty)"} for row in rows])


def _sample_of_third_party(rows: list[Row]) -> bytes:
    def shown(name: str, value: str) -> str:
        if value == "-":
            return ""
        return f"{value}.0" if name in {"orig_bytes", "resp_bytes"} else value

    lines = ["\t".join(_PUBLISHED_NAMES)]
    lines += ["\t".join(shown(name, row[name]) for name in COLUMNS) for row in rows]
    return ("\n".join(lines) + "\n").encode()


_STYLES: Final[tuple[Callable[[list[Row]], bytes], ...]] = (_published, _crlf_lower_case, _empty_tunnels, _published)
