"""What a federated run writes down: totals, and the rows of history.parquet."""

import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

from fedbench.federation.grid import Exchange


@dataclass
class Totals:
    """Sums over all exchanges, and the rows so far.

    Attributes:
        bytes_cloud: between gateways and cloud, both ways.
        lost, failed: replies that never arrived; replies that carried an error.
    """

    bytes_up: int = 0
    bytes_down: int = 0
    bytes_cloud: int = 0
    train_seconds: float = 0.0
    tokens: int = 0
    padding: int = 0
    lost: int = 0
    failed: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def add(self, exchange: Exchange) -> None:
        """Count one exchange, whether or not its reply arrived: the work was done and the bytes were sent."""
        self.bytes_up += exchange.bytes_up
        self.bytes_down += exchange.bytes_down
        self.train_seconds += float(exchange.metrics.get("seconds", 0.0))
        self.tokens += int(exchange.metrics.get("tokens", 0))
        self.padding += int(exchange.metrics.get("padding", 0))


def merged(exchanges: list[Exchange]) -> list[Exchange]:
    """Return one exchange a client: a protocol of several messages costs what all of them cost together."""
    clients: dict[int, Exchange] = {}
    for exchange in exchanges:
        before = clients.get(exchange.client)
        if before is None:
            clients[exchange.client] = exchange
            continue
        clients[exchange.client] = replace(
            before,
            bytes_down=before.bytes_down + exchange.bytes_down,
            bytes_up=before.bytes_up + exchange.bytes_up,
            metrics={**before.metrics, **exchange.metrics},
            trigger=exchange.trigger or before.trigger,
            error=exchange.error or before.error,
        )
    return list(clients.values())


def client_rows(number: int, exchange: Exchange, now: float, *, lost: bool) -> list[dict[str, Any]]:
    """Return the rows of one exchange: phase `train`, `lost` or `failed`, and the client's own `validation` if any.

    Args:
        now: modelled seconds at which the client was done.
    """
    metrics = exchange.metrics
    notes: dict[str, Any] = {k: v for k, v in metrics.items() if k.startswith("norm/")}
    if exchange.error is not None:
        notes["error"] = exchange.error
    arrived = not lost and exchange.error is None
    rows = [
        row(
            number,
            exchange.client,
            "failed" if exchange.error is not None else "lost" if lost else "train",
            loss=float(metrics.get("loss", math.nan)),
            examples=int(metrics.get("num-examples", 0)),
            seconds=float(metrics.get("seconds", 0.0)),
            bytes_up=exchange.bytes_up,
            bytes_down=exchange.bytes_down,
            uploaded=arrived and bool(metrics.get("uploaded", 1)),
            trigger=exchange.trigger,
            virtual_seconds=now,
            metrics=json.dumps(notes),
        )
    ]
    if "validation-loss" in metrics:
        loss, accuracy = float(metrics["validation-loss"]), float(metrics["validation-accuracy"])
        rows.append(row(number, exchange.client, "validation", loss=loss, accuracy=accuracy))
    return rows


def row(step: int, client: int, phase: str, **values: Any) -> dict[str, Any]:
    """Return one row; what is not a number is nothing."""
    checked = {k: finite(v) if isinstance(v, float) else v for k, v in values.items()}
    return {"step": step, "round": step, "client": client, "phase": phase, **checked}


def finite(value: float) -> float | None:
    """Return None for NaN, so that tables show nothing rather than a number."""
    return None if math.isnan(value) else value
