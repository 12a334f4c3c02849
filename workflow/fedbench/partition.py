"""Rows dealt out to clients (iid, Dirichlet label skew, by device), in whole numbers by largest remainder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fedbench.errors import FedbenchError
from fedbench.files import atomic
from fedbench.spec import ClientsSpec

CLIENTS = pa.schema(
    [
        pa.field("row_id", pa.int64(), nullable=False),
        pa.field("client", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
    ]
)
_REDRAWS = 100
_PARTITION, _VALIDATION = 3, 4  # random streams of their own, beside those of sampling and splitting


def largest_remainder(total: int, shares: Sequence[float]) -> list[int]:
    """Round `total * share / sum(shares)` to whole numbers that sum to `total` (Hamilton's method; ties: first).

    Raises:
        ValueError: `total` or a share is negative, or all shares are zero although `total` is not.
    """
    weights = np.asarray(shares, dtype=float)
    if total < 0 or (weights < 0).any() or (total and not weights.sum() > 0):
        raise ValueError(f"cannot deal {total} by the shares {list(shares)}")
    if not total:
        return [0] * len(weights)
    # Rounded, so that 0.7 of 10 is 7 and not 6.999...
    exact = np.round(total * (weights / weights.sum()), 9)
    whole = np.floor(exact).astype(int)
    order = np.argsort(whole - exact, kind="stable")
    whole[order[: total - int(whole.sum())]] += 1
    return [int(number) for number in whole]


def assign_clients(
    labels: Sequence[str], spec: ClientsSpec, seed: int, devices: Sequence[str] | None = None
) -> npt.NDArray[np.int32]:
    """Return the client, 0 to `spec.count` - 1, of each row; every client holds at least `spec.minimum` rows.

    - iid: a random permutation, dealt in turn.
    - dirichlet: each label's rows are divided by a draw from Dirichlet(alpha); draws that leave a client below the
      minimum are repeated, and after 100 of them rows are moved from the largest clients.
    - device: each device's rows stay together; the largest device goes to the smallest client.

    Raises:
        FedbenchError: too few rows, or too few devices, for the clients asked for.
    """
    rng = np.random.default_rng([seed, _PARTITION])
    rows = len(labels)
    if rows < spec.count * max(spec.minimum, 1):
        raise FedbenchError(
            f"{rows} training rows are too few for {spec.count} clients of at least {max(spec.minimum, 1)}",
            where="clients",
            remedy="Lower clients.count or clients.minimum, or use more data.",
        )
    if spec.partition == "iid":
        clients = np.empty(rows, dtype=np.int32)
        clients[rng.permutation(rows)] = np.arange(rows) % spec.count
        return clients
    if spec.partition == "device":
        if devices is None:
            raise FedbenchError("partition 'device' needs the device of each row", where="clients.partition")
        return _by_device(devices, spec)
    return _dirichlet(np.asarray(labels, dtype=object), spec, rng)


def _dirichlet(labels: npt.NDArray[np.object_], spec: ClientsSpec, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    members = [rng.permutation(np.flatnonzero(labels == label)) for label in sorted(set(labels))]
    for _ in range(_REDRAWS):
        clients = np.empty(len(labels), dtype=np.int32)
        for rows in members:
            # A very small alpha can underflow to all zeros; then one client takes the label.
            shares = np.nan_to_num(rng.dirichlet([spec.alpha] * spec.count))
            if not shares.sum() > 0:
                shares[rng.integers(spec.count)] = 1.0
            clients[rows] = np.repeat(np.arange(spec.count), largest_remainder(len(rows), shares.tolist()))
        if np.bincount(clients, minlength=spec.count).min() >= spec.minimum:
            return clients
    sizes = np.bincount(clients, minlength=spec.count)
    for client in np.flatnonzero(sizes < max(spec.minimum, 1)):
        while sizes[client] < max(spec.minimum, 1):
            donor = int(sizes.argmax())
            row = rng.choice(np.flatnonzero(clients == donor))
            clients[row] = client
            sizes[donor] -= 1
            sizes[client] += 1
    return clients


def _by_device(devices: Sequence[str], spec: ClientsSpec) -> npt.NDArray[np.int32]:
    names, index, counts = np.unique(np.asarray(devices, dtype=str), return_inverse=True, return_counts=True)
    held = np.zeros(spec.count, dtype=np.int64)
    owner = np.empty(len(names), dtype=np.int32)
    for device in np.argsort(-counts, kind="stable"):
        owner[device] = held.argmin()
        held[owner[device]] += counts[device]
    if held.min() < max(spec.minimum, 1):
        raise FedbenchError(
            f"{len(names)} devices do not give {spec.count} clients at least {max(spec.minimum, 1)} training rows each",
            where="clients.partition: device",
            remedy="Lower clients.count or clients.minimum, or use dirichlet.",
        )
    return owner[index]


def _follow(
    labels: npt.NDArray[np.object_],
    train_labels: npt.NDArray[np.object_],
    train_clients: npt.NDArray[np.int32],
    count: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.int32]:
    """Deal validation rows so that each label is divided as among the clients' training rows."""
    clients = np.empty(len(labels), dtype=np.int32)
    for label in sorted(set(labels)):
        rows = rng.permutation(np.flatnonzero(labels == label))
        held = np.bincount(train_clients[train_labels == label], minlength=count)
        if not held.sum():
            held = np.bincount(train_clients, minlength=count)
        clients[rows] = np.repeat(np.arange(count), largest_remainder(len(rows), held.tolist()))
    sizes = np.bincount(clients, minlength=count)
    for client in np.flatnonzero(sizes == 0):  # rounding can leave a small client nothing to validate on
        donor = int(sizes.argmax())
        if sizes[donor] < 2:
            break
        candidates = np.flatnonzero(clients == donor)
        own = np.isin(labels[candidates], train_labels[train_clients == client])
        row = rng.choice(candidates[own] if own.any() else candidates)
        clients[row] = client
        sizes[donor] -= 1
        sizes[client] += 1
    return clients


def write_clients(
    dataset: Path, spec: ClientsSpec, seed: int, out: Path, *, by: str = "label", device: str | None = None
) -> None:
    """Write who holds which training and validation row of `dataset` to `out` (schema `CLIENTS`, by row_id).

    Validation rows follow the proportions of the clients' training rows, label by label, or, with partition `device`,
    their device. Test rows are held by nobody. `by` and `device` name the columns of labels and devices.

    Raises:
        FedbenchError: as `assign_clients`, or the data set has no column `by` or `device`.
    """
    names = [by, *([device] if device is not None else [])]
    absent = set(names) - set(pq.read_schema(dataset).names)
    if absent:
        raise FedbenchError(f"no column {', '.join(sorted(absent))}", where=dataset)
    rows = pl.read_parquet(dataset, columns=list(dict.fromkeys(["row_id", "split", *names])))
    train, validation = (rows.filter(pl.col("split") == split).sort("row_id") for split in ("train", "validation"))
    labels, validation_labels = (
        part[by].cast(pl.String).fill_null("").to_numpy().astype(object) for part in (train, validation)
    )
    devices = train[device].to_list() if device is not None else None
    clients = assign_clients(labels.tolist(), spec, seed, devices)
    rng = np.random.default_rng([seed, _VALIDATION])
    followers = _follow(validation_labels, labels, clients, spec.count, rng)
    if spec.partition == "device" and devices is not None and device is not None:
        owner = dict(zip(devices, clients.tolist(), strict=True))
        smallest = int(np.bincount(clients, minlength=spec.count).argmin())
        followers = np.array([owner.get(name, smallest) for name in validation[device]], dtype=np.int32)
    held = pl.concat(
        part.select("row_id", pl.Series("client", who, dtype=pl.Int32), "split")
        for part, who in ((train, clients), (validation, followers))
    ).sort("row_id")
    with atomic(out) as partial:
        pq.write_table(held.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(CLIENTS), partial, compression="zstd")
