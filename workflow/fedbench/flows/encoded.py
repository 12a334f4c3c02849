"""Typed flows as arrays of few bytes, which are cheap to sort, to store and to compare."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from fedbench.flows.chunk import TEXT, TEXTS
from fedbench.flows.schema import COUNTS, FLAGS, PORTS

Array = np.ndarray[Any, Any]

STRINGS: Final = ("uid", "id.orig_h", "id.resp_h")
_WHOLE: Final = (*TEXTS, *FLAGS, *PORTS, *COUNTS, "line")
NUMBERS: Final = ("ts", "duration", *_WHOLE)


@dataclass(frozen=True)
class Encoded:
    """Flows in reading order.

    Attributes:
        numbers: of each of `NUMBERS`: `ts` in microseconds; -1 (duration: NaN) where unset; `TEXTS` by their codes.
        strings: of each of `STRINGS`.
        hashes: of the uids, 64 bits.
    """

    numbers: dict[str, Array]
    strings: dict[str, pl.Series]
    hashes: Array

    def __len__(self) -> int:
        return len(self.hashes)


def encode(flows: pl.DataFrame) -> Encoded:
    """Encode flows as `typed` gives them."""
    numbers = {name: _whole(flows[name]) for name in _WHOLE}
    numbers["ts"] = flows["ts"].to_physical().to_numpy()
    numbers["duration"] = flows["duration"].fill_null(np.nan).to_numpy()
    return Encoded(numbers, {name: flows[name] for name in STRINGS}, flows["uid"].hash(seed=0).to_numpy())


def joined(parts: Sequence[Encoded]) -> Encoded:
    """Join flows, one after another."""
    return Encoded(
        {name: np.concatenate([part.numbers[name] for part in parts]) for name in NUMBERS},
        {name: pl.concat([part.strings[name] for part in parts]) for name in STRINGS},
        np.concatenate([part.hashes for part in parts]),
    )


def texts() -> list[str]:
    """Return the texts by their codes."""
    return [text or "" for text in TEXT.categories]


def _whole(column: pl.Series) -> Array:
    """Return whole numbers from 0 (codes, flags) in as few bytes as they need, -1 for unset."""
    if column.null_count() == len(column):
        return np.full(len(column), -1, np.int8)
    numbers = column.cast(pl.Int8) if column.dtype == pl.Boolean else column.to_physical()
    largest: Any = numbers.max()
    short = numbers.cast(getattr(pl, f"Int{np.min_scalar_type(-int(largest) - 1).itemsize * 8}"))
    return (short.fill_null(-1) if short.null_count() else short).to_numpy()
