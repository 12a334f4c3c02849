"""Named arrays and Flower's records of them."""

import numpy as np
from flwr.app import Array, ArrayRecord

Arrays = dict[str, np.ndarray]


def to_numpy(record: ArrayRecord) -> Arrays:
    """Return the arrays of a record by name."""
    return {name: array.numpy() for name, array in record.items()}


def to_record(arrays: Arrays) -> ArrayRecord:
    """Return named arrays as a Flower record."""
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in arrays.items()})


def difference(arrays: Arrays, reference: Arrays) -> Arrays:
    """Return arrays - reference, for the names in `arrays`."""
    return {name: value - reference[name] for name, value in arrays.items()}


def added(reference: Arrays, update: Arrays) -> Arrays:
    """Return reference + update in the dtypes and the order of `reference`."""
    return {name: (value + update[name]).astype(value.dtype) for name, value in reference.items()}
