"""Arrays off the wire without copies, their mean as Flower computes it, and the bias of averaging from differences."""

import numpy as np
import pytest
from flwr.app import MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

from fedbench.federation import lowrank
from fedbench.federation.arrays import added, difference, to_numpy, to_record, views, weighted_mean

A, B = "m.lora_A.default.weight", "m.lora_B.default.weight"


def adapter(seed: int, scale: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: (scale * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in ((A, (3, 20)), (B, (30, 3)), ("head", (5,)))
    }


@pytest.mark.parametrize(
    "value",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4),
        np.asfortranarray(np.arange(12, dtype=np.float64).reshape(3, 4)),
        np.array(3.5),
        np.zeros((0, 4), dtype=np.int64),
    ],
)
def test_a_view_is_the_array_that_was_sent(value):
    record = to_record({"x": value})
    assert np.array_equal(views(record)["x"], to_numpy(record)["x"])
    assert views(record)["x"].dtype == value.dtype
    assert views(record)["x"].shape == value.shape


def test_a_view_copies_nothing():
    record = to_record({"x": np.arange(6, dtype=np.float32)})
    seen = views(record)["x"]
    assert not seen.flags.owndata
    assert np.shares_memory(seen, np.frombuffer(record["x"].data, dtype=np.uint8))


def test_the_mean_is_flowers_to_the_bit():
    updates, counts = [adapter(k) for k in range(4)], [3, 10, 1, 7]
    records = [
        RecordDict({"arrays": to_record(update), "metrics": MetricRecord({"num-examples": count})})
        for update, count in zip(updates, counts, strict=True)
    ]
    wanted = to_numpy(aggregate_arrayrecords(records, "num-examples"))
    found = weighted_mean([views(record["arrays"]) for record in records], [c / sum(counts) for c in counts])
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_the_bias_is_the_same_from_adapters_and_from_their_differences():
    weights, sent = [0.2, 0.5, 0.3], adapter(50)
    for scale in (1.0, 1e-3):  # a small bias keeps its digits
        adapters = [added(sent, adapter(k, scale)) for k in range(3)]
        products = [one[B].astype(float) @ one[A] for one in adapters]
        mean = {
            name: sum(w * one[name].astype(float) for w, one in zip(weights, adapters, strict=True)) for name in (A, B)
        }
        whole = sum(w * product for w, product in zip(weights, products, strict=True))
        wanted = np.linalg.norm(whole - mean[B] @ mean[A]) / np.linalg.norm(whole)
        updates = [difference(one, sent) for one in adapters]
        assert lowrank.averaging_bias(adapters, weights) == pytest.approx(wanted, rel=1e-3)
        assert lowrank.averaging_bias(updates, weights, sent) == pytest.approx(wanted, rel=1e-3)
        known = weighted_mean(updates, weights)
        assert lowrank.averaging_bias(updates, weights, sent, known) == pytest.approx(wanted, rel=1e-3)


def test_there_is_no_bias_without_factors():
    assert lowrank.averaging_bias([{"head": np.ones(2, np.float32)}] * 2, [0.5, 0.5]) is None
