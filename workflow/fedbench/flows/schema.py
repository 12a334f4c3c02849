"""What a flow is: columns, types and labels of Zeek's conn.log as IoT-23 publishes it, declared once."""

from typing import Final

import polars as pl
import pyarrow as pa

FLOWS: Final = pa.schema(
    [
        pa.field("row_id", pa.int64(), nullable=False),  # 0, 1, ... in file order
        pa.field("scenario", pa.string(), nullable=False),
        pa.field("ts", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("uid", pa.string(), nullable=False),
        pa.field("id.orig_h", pa.string(), nullable=False),
        pa.field("id.orig_p", pa.int32(), nullable=False),  # ICMP: the message type
        pa.field("id.resp_h", pa.string(), nullable=False),
        pa.field("id.resp_p", pa.int32(), nullable=False),  # ICMP: the message code
        pa.field("proto", pa.string(), nullable=False),
        pa.field("service", pa.string()),
        pa.field("duration", pa.float64()),  # seconds
        pa.field("orig_bytes", pa.int64()),
        pa.field("resp_bytes", pa.int64()),
        pa.field("conn_state", pa.string()),
        pa.field("local_orig", pa.bool_()),
        pa.field("local_resp", pa.bool_()),
        pa.field("missed_bytes", pa.int64()),
        pa.field("history", pa.string()),
        pa.field("orig_pkts", pa.int64()),
        pa.field("orig_ip_bytes", pa.int64()),
        pa.field("resp_pkts", pa.int64()),
        pa.field("resp_ip_bytes", pa.int64()),
        pa.field("tunnel_parents", pa.string()),
        pa.field("label", pa.string()),  # Benign, Malicious or null
        pa.field("detailed_label", pa.string()),  # e.g. DDoS; null when there is no detail
        pa.field("file", pa.string(), nullable=False),  # where the row was read from ...
        pa.field("line", pa.int64(), nullable=False),  # ... and on which line, from 1
    ]
)
QUARANTINE: Final = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),  # the line as read; bytes that are not UTF-8 as \xNN
    ]
)

PORTS: Final = ("id.orig_p", "id.resp_p")
COUNTS: Final = (
    "orig_bytes",
    "resp_bytes",
    "missed_bytes",
    "orig_pkts",
    "orig_ip_bytes",
    "resp_pkts",
    "resp_ip_bytes",
)
FLAGS: Final = ("local_orig", "local_resp")
CONNECTION: Final = ("duration", "conn_state", "history", "orig_pkts", "orig_bytes")
"""Of these a conn log sets one at least; Zeek's other logs have none of them, and all of `REQUIRED`."""
REQUIRED: Final = ("ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto")
COLUMNS: Final = tuple(name for name in FLOWS.names if name not in {"row_id", "scenario", "file", "line"})
"""The columns that a log itself carries, in published order."""

DETAILED_LABELS: Final = (
    "Attack",
    "C&C",
    "C&C-FileDownload",
    "C&C-HeartBeat",
    "C&C-HeartBeat-Attack",
    "C&C-HeartBeat-FileDownload",
    "C&C-Mirai",
    "C&C-PartOfAHorizontalPortScan",
    "C&C-Torii",
    "DDoS",
    "FileDownload",
    "Okiru",
    "Okiru-Attack",
    "PartOfAHorizontalPortScan",
    "PartOfAHorizontalPortScan-Attack",
)
"""Published detailed labels; others are kept as they are."""

UNLABELLED: Final = "unlabelled"


def canonical(name: str) -> str:
    """Return the column name used here for a name as spelt in some log (`detailed-label`, `detailedlabel`, ...)."""
    name = name.strip().lower().replace("-", "_")
    if name in {"detailedlabel", "detailed label", "det_label"}:
        return "detailed_label"
    return {f"id_{part}": f"id.{part}" for part in ("orig_h", "orig_p", "resp_h", "resp_p")}.get(name, name)


def flow_class() -> pl.Expr:
    """The class of a flow as an expression: detailed label, else label, else `unlabelled`."""
    return pl.coalesce("detailed_label", "label", pl.lit(UNLABELLED))
