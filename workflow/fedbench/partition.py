"""Who holds which row: whole-number shares, and client partitions that are IID, label-skewed or by device."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from fedbench.errors import FedbenchError
from fedbench.files import atomic
from fedbench.spec import ClientsSpec


def largest_remainder(total: int, shares: Sequence[float]) -> list[int]:
    """Divide `total` by `shares` into whole numbers that sum to it (largest remainder; ties to the earlier share).

    48,003 by 70/20/10 gives 33,602 / 9,601 / 4,800 (GSFS Table I).
    """
    whole = sum(shares)
    # Rounding hides the noise of binary fractions, which would decide between equal remainders.
    exact = [round(total * share / whole, 9) for share in shares]
    counts = [int(value) for value in exact]
    order = sorted(range(len(shares)), key=lambda i: (counts[i] - exact[i], i))
    for i in order[: total - sum(counts)]:
        counts[i] += 1
    return counts


def assign_clients(
    labels: Sequence[str], spec: ClientsSpec, seed: int, devices: Sequence[str] | None = None
) -> np.ndarray:
    """Return the client of each row, int32 of shape (rows,).

    Raises:
        FedbenchError: too few rows or devices for the clients, or no partition meets `minimum`.
    """
    return np.array([c for c, _ in _shares(list(labels), spec, seed, devices)[0]], dtype=np.int32)


def write_clients(
    dataset: Path, spec: ClientsSpec, seed: int, out: Path, *, by: str = "label", device: str | None = None
) -> None:
    """Deal train and validation rows of a data set out to clients and write clients.parquet (row_id, client, split).

    Validation rows follow each client's share of the same label among the training rows, so that a client's validation
    set looks like what it trains on; under the device partition they follow the device.
    """
    columns = ["row_id", "split", by] + ([device] if device else [])
    rows = pl.read_parquet(dataset, columns=columns).sort("row_id")
    train, validation = (rows.filter(pl.col("split") == name) for name in ("train", "validation"))
    devices = train[device].to_list() if device else None
    dealt, table = _shares(train[by].to_list(), spec, seed, devices)
    train = train.with_columns(client=pl.Series([c for c, _ in dealt], dtype=pl.Int32))
    rng = np.random.default_rng([seed, 1])
    if spec.partition == "device" and device:
        owner = dict(zip(train[device].to_list(), train["client"].to_list(), strict=True))
        held = [owner.get(name, _least(train, spec.count)) for name in validation[device].to_list()]
    else:
        held = _follow(validation[by].to_list(), table, spec.count, rng)
    validation = validation.with_columns(client=pl.Series(held, dtype=pl.Int32))
    both = pl.concat([train, validation]).select("row_id", "client", "split").sort("row_id")
    with atomic(out) as partial:
        both.write_parquet(partial, compression="zstd")


Dealt = list[tuple[int, str]]


def _shares(
    labels: list[str], spec: ClientsSpec, seed: int, devices: Sequence[str] | None
) -> tuple[Dealt, dict[str, np.ndarray]]:
    """Return (client, label) a row and label -> rows a client."""
    if len(labels) < spec.count * max(1, spec.minimum):
        raise FedbenchError(
            f"{len(labels)} training rows cannot give {spec.count} clients {max(1, spec.minimum)} each",
            where="clients",
            remedy="Lower clients.count or clients.minimum, or take a larger sample.",
        )
    if spec.partition == "device":
        clients = _by_device(labels, spec, devices)
    elif spec.partition == "iid":
        order = np.random.default_rng([seed, 0]).permutation(len(labels))
        clients = np.empty(len(labels), dtype=np.int32)
        clients[order] = np.arange(len(labels)) % spec.count
    else:
        clients = _dirichlet(labels, spec, seed)
    dealt = [(int(c), label) for c, label in zip(clients, labels, strict=True)]
    table = {label: np.zeros(spec.count, dtype=np.int64) for label in sorted(set(labels))}
    for client, label in dealt:
        table[label][client] += 1
    return dealt, table


def _dirichlet(labels: list[str], spec: ClientsSpec, seed: int) -> np.ndarray:
    """Deal each label by a Dirichlet draw, then top up clients below the minimum from the largest ones."""
    rng = np.random.default_rng([seed, 0])
    names = np.array(labels)
    clients = np.empty(len(labels), dtype=np.int32)
    for label in sorted(set(labels)):
        rows = rng.permutation(np.flatnonzero(names == label))
        shares = rng.dirichlet([spec.alpha] * spec.count)
        # Tiny alphas can draw all zeros in double precision; then one client takes the label.
        shares = shares if np.isfinite(shares).all() and shares.sum() > 0 else np.eye(spec.count)[rng.integers(spec.count)]
        start = 0
        for client, count in enumerate(largest_remainder(len(rows), list(shares))):
            clients[rows[start : start + count]] = client
            start += count
    sizes = np.bincount(clients, minlength=spec.count)
    for client in range(spec.count):
        while sizes[client] < spec.minimum:
            donor = int(sizes.argmax())
            row = rng.choice(np.flatnonzero(clients == donor))
            clients[row] = client
            sizes[donor] -= 1
            sizes[client] += 1
    return clients


def _by_device(labels: list[str], spec: ClientsSpec, devices: Sequence[str] | None) -> np.ndarray:
    """Give whole devices to clients: the largest device first, always to the client with the fewest rows."""
    if devices is None:
        raise FedbenchError("the device partition needs a device a row", where="clients.partition", remedy="Use iid.")
    names, counts = np.unique(np.array(devices), return_counts=True)
    if len(names) < spec.count:
        raise FedbenchError(
            f"{len(names)} devices cannot be {spec.count} clients",
            where="clients.count",
            remedy=f"Set clients.count to at most {len(names)}, or use another partition.",
        )
    loads = np.zeros(spec.count, dtype=np.int64)
    owner = {}
    for k in sorted(range(len(names)), key=lambda i: (-counts[i], names[i])):
        owner[names[k]] = int(loads.argmin())
        loads[owner[names[k]]] += counts[k]
    return np.array([owner[name] for name in devices], dtype=np.int32)


def _follow(labels: list[str], table: dict[str, np.ndarray], count: int, rng: np.random.Generator) -> list[int]:
    """Deal rows so that each label is shared as `table` shares it."""
    names = np.array(labels)
    held = np.zeros(len(labels), dtype=np.int64)
    for label in sorted(set(labels)):
        rows = rng.permutation(np.flatnonzero(names == label))
        shares = table.get(label, np.ones(count))
        start = 0
        for client, size in enumerate(largest_remainder(len(rows), [float(s) for s in shares])):
            held[rows[start : start + size]] = client
            start += size
    return [int(client) for client in held]


def _least(train: pl.DataFrame, count: int) -> int:
    sizes = np.bincount(train["client"].to_numpy(), minlength=count)
    return int(sizes.argmin())
