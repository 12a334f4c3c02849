"""Partitions over clients are partitions, whole numbers add up, and skew is what was asked for."""

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.errors import FedbenchError
from fedbench.files import sha256
from fedbench.partition import CLIENTS, assign_clients, largest_remainder, write_clients
from fedbench.spec import ClientsSpec


def spec(**changes):
    return ClientsSpec.model_validate(changes)


def test_largest_remainder_by_hand():
    assert largest_remainder(48_003, [0.7, 0.2, 0.1]) == [33_602, 9_601, 4_800]
    assert largest_remainder(10, [0.7, 0.2, 0.1]) == [7, 2, 1]
    assert largest_remainder(2, [1, 1, 1]) == [1, 1, 0]
    assert largest_remainder(0, [0, 0]) == [0, 0]
    for total, shares in ((-1, [1]), (3, [0, 0]), (3, [2, -1])):
        with pytest.raises(ValueError, match="cannot deal"):
            largest_remainder(total, shares)


@given(st.integers(0, 10**7), st.lists(st.floats(0, 1e6), min_size=1, max_size=30).filter(lambda s: sum(s) > 1e-6))
def test_largest_remainder_adds_up_and_stays_within_one(total, shares):
    dealt = largest_remainder(total, shares)
    assert sum(dealt) == total
    for number, share in zip(dealt, shares, strict=True):
        assert abs(number - total * share / sum(shares)) < 1 + 1e-6


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.sampled_from("abcd"), min_size=40, max_size=200),
    partition=st.sampled_from(["iid", "dirichlet", "device"]),
    alpha=st.floats(0.001, 100),
    seed=st.integers(0, 10),
)
def test_every_row_has_one_client_and_every_client_its_minimum(labels, partition, alpha, seed):
    wanted = spec(count=4, partition=partition, alpha=alpha, minimum=5)
    devices = [f"device-{row % 8}" for row in range(len(labels))]
    clients = assign_clients(labels, wanted, seed, devices)
    assert clients.dtype == np.int32
    assert len(clients) == len(labels)
    sizes = np.bincount(clients, minlength=4)
    assert len(sizes) == 4
    assert sizes.min() >= 5
    assert (clients == assign_clients(labels, wanted, seed, devices)).all()
    if partition == "iid":
        assert sizes.max() - sizes.min() <= 1
    if partition == "device":
        assert len(set(zip(devices, clients.tolist(), strict=True))) == 8


def test_a_smaller_alpha_is_more_skewed():
    labels = ["a", "b", "c", "d"] * 500

    def purity(alpha):
        clients = assign_clients(labels, spec(alpha=alpha, minimum=1), 0)
        frame = pl.DataFrame({"client": clients, "label": labels}).group_by("client", "label").len()
        sizes = frame.group_by("client").agg(pl.col("len").max() / pl.col("len").sum())
        return sizes["len"].mean()

    assert purity(0.05) > purity(0.5) > purity(100) > 0.25
    assert purity(1e6) == pytest.approx(0.25, abs=0.01)


def test_too_few_rows_or_devices_are_an_error_that_says_so():
    with pytest.raises(FedbenchError, match="79 training rows are too few for 10 clients of at least 8"):
        assign_clients(["a"] * 79, spec(), 0)
    with pytest.raises(FedbenchError, match="2 devices do not give 3 clients"):
        assign_clients(["a"] * 90, spec(count=3, partition="device"), 0, ["x", "y"] * 45)
    with pytest.raises(FedbenchError, match="needs the device"):
        assign_clients(["a"] * 90, spec(count=3, partition="device"), 0)


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "row_id": rng.permutation(1000),
            "split": rng.choice(["train", "validation", "test"], 1000, p=[0.7, 0.2, 0.1]),
            "label": rng.choice(["a", "b", "c"], 1000),
            "device": [f"d{n}" for n in rng.integers(0, 12, 1000)],
        }
    )
    frame.write_parquet(tmp_path / "dataset.parquet")
    return tmp_path / "dataset.parquet"


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "device"])
def test_training_and_validation_rows_are_held_once_and_test_rows_by_nobody(dataset, tmp_path, partition):
    write_clients(dataset, spec(partition=partition), 0, tmp_path / "c.parquet", device="device")
    held = pl.read_parquet(tmp_path / "c.parquet")
    assert pq.read_schema(tmp_path / "c.parquet").equals(CLIENTS)
    rows = pl.read_parquet(dataset).filter(pl.col("split") != "test").sort("row_id")
    assert held.select("row_id", "split").equals(rows.select("row_id", "split"))
    assert set(held.filter(split="validation")["client"]) == set(held.filter(split="train")["client"]) == set(range(10))
    if partition == "device":
        together = rows.join(held, on="row_id")
        assert together.group_by("device").agg(pl.col("client").n_unique())["client"].max() == 1


def test_validation_rows_follow_the_labels_of_a_clients_training_rows(dataset, tmp_path):
    write_clients(dataset, spec(alpha=0.3), 1, tmp_path / "c.parquet")
    rows = pl.read_parquet(dataset).join(pl.read_parquet(tmp_path / "c.parquet"), on=["row_id", "split"])
    counts = rows.group_by("client", "label").agg(
        train=(pl.col("split") == "train").sum(), validation=(pl.col("split") == "validation").sum()
    )
    totals = counts.group_by("label").agg(pl.col("train").sum().alias("of"), pl.col("validation").sum().alias("among"))
    expected = counts.join(totals, on="label").with_columns(
        gap=(pl.col("validation") - pl.col("among") * pl.col("train") / pl.col("of")).abs()
    )
    assert expected["gap"].max() <= 2  # within one by rounding, one more where a client had none at all


def test_partitions_are_seeded_and_name_their_columns(dataset, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_clients(dataset, spec(), seed, tmp_path / name)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b") != sha256(tmp_path / "c")
    with pytest.raises(FedbenchError, match="no column category"):
        write_clients(dataset, spec(), 0, tmp_path / "d", by="category")
