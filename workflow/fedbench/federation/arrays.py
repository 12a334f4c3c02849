"""Named arrays and Flower's records of them."""

from collections.abc import Sequence

import numpy as np
from flwr.app import Array, ArrayRecord

Arrays = dict[str, np.ndarray]


def to_numpy(record: ArrayRecord) -> Arrays:
    """Return the arrays of a record by name."""
    return {name: array.numpy() for name, array in record.items()}


def views(record: ArrayRecord) -> Arrays:
    """Return the arrays of a record by name, to be read only: they lie where the message does, not copied."""
    return {name: _view(array) for name, array in record.items()}


def _view(array: Array) -> np.ndarray:
    size = np.dtype(array.dtype).itemsize * int(np.prod(array.shape, dtype=np.int64))
    head = len(array.data) - size  # NumPy's file format: a header, then the values
    if b"'fortran_order': False" not in array.data[:head]:
        value: np.ndarray = array.numpy()
        return value
    return np.frombuffer(array.data, dtype=array.dtype, offset=head).reshape(array.shape)


def weighted_mean(updates: Sequence[Arrays], weights: Sequence[float]) -> Arrays:
    """Return sum_i p_i x_i in the arrays' precision, rounded as Flower's FedAvg does."""
    mean = {}
    for name, first in updates[0].items():
        mean[name] = first * weights[0]
        for update, weight in zip(updates[1:], weights[1:], strict=True):
            mean[name] += update[name] * weight
    return mean


def to_record(arrays: Arrays) -> ArrayRecord:
    """Return named arrays as a Flower record."""
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in arrays.items()})


def difference(arrays: Arrays, reference: Arrays) -> Arrays:
    """Return arrays - reference, for the names in `arrays`."""
    return {name: value - reference[name] for name, value in arrays.items()}


def added(reference: Arrays, update: Arrays) -> Arrays:
    """Return reference + update in the dtypes and the order of `reference`."""
    return {name: (value + update[name]).astype(value.dtype) for name, value in reference.items()}
