"""Flows of one scenario on disk, sorted piece by piece as they are read, and given back in order of time."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa

from fedbench.flows.blocks import Integers
from fedbench.flows.encoded import NUMBERS, STRINGS, Array, Encoded

_FEW = 4096  # strings of so many different values at most are kept as numbers of those values
_EVERY = 64  # one time in so many is kept in memory, to cut the whole into windows


@dataclass(frozen=True)
class _Column:
    """Where the values of a column lie in a run's file; `same` instead where they are all one."""

    start: int
    dtype: np.dtype[Any]
    same: float | None = None

    def read(self, file: BinaryIO, first: int, end: int) -> Array:
        """Return the values of some rows; of all columns of one byte, which are text, those bytes."""
        if self.same is not None:
            return np.full(end - first, self.same, self.dtype)
        values = np.empty(end - first, self.dtype)
        place, left = self.start + first * self.dtype.itemsize, values.view(np.uint8).data
        while left:
            came = os.preadv(file.fileno(), [left], place)
            if not came:
                raise OSError("a file of the stage has become shorter")
            left, place = left[came:], place + came
        return values


@dataclass(frozen=True)
class _Few:
    """Strings as numbers of their values."""

    codes: _Column
    values: list[str]


@dataclass(frozen=True)
class _Many:
    """Strings one after another."""

    ends: _Column
    text: _Column

    def read(self, file: BinaryIO, first: int, end: int) -> pa.LargeStringArray:
        """Return the strings of some rows."""
        ends = self.ends.read(file, max(0, first - 1), end).astype(np.int64)  # one begins where the one before it ends
        ends = ends if first else np.append(0, ends)
        text = self.text.read(file, int(ends[0]), int(ends[-1]))
        return pa.LargeStringArray.from_buffers(end - first, pa.py_buffer(ends - ends[0]), pa.py_buffer(text))


@dataclass(frozen=True)
class _Run:
    """Flows of one log in order of time (ties: reading order), in a file: one column after another."""

    path: Path
    log: int
    rows: int
    times: Integers  # microseconds, every `_EVERY`th and the last
    numbers: Mapping[str, _Column]
    strings: Mapping[str, _Few | _Many]

    def within(self, file: BinaryIO, low: int, high: int) -> tuple[int, int]:
        """Return the rows, first and end, of low <= time < high."""
        first, last = np.searchsorted(self.times, [low, high])
        start, end = max(0, int(first) - 1) * _EVERY, min(self.rows, int(last) * _EVERY)
        first, last = np.searchsorted(self.numbers["ts"].read(file, start, end), [low, high])
        return start + int(first), start + int(last)


class Stage:
    """The flows of a scenario: first all are added, then they can be read."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._runs: list[_Run] = []

    def add(self, flows: Encoded, log: int) -> None:
        """Sort and write flows of the log with index `log`, in reading order."""
        if not len(flows):
            return
        order = np.argsort(flows.numbers["ts"], kind="stable")
        path = self._folder / str(len(self._runs))
        with path.open("wb", buffering=0) as file:
            numbers = {name: _write(file, flows.numbers[name], order) for name in NUMBERS}
            strings = {name: _write_strings(file, flows.strings[name].rechunk(), order) for name in STRINGS}
        times = flows.numbers["ts"].take(np.append(order[::_EVERY], order[-1:]))
        self._runs.append(_Run(path, log, len(flows), times, numbers, strings))

    def windows(self, rows: int) -> Iterator["Window"]:
        """Yield all flows in order of time (ties: reading order), about `rows` at a time."""
        if not self._runs:
            return
        times = np.sort(np.concatenate([run.times for run in self._runs]))
        parts = -(-sum(run.rows for run in self._runs) // rows)
        cuts = {int(times[len(times) * part // parts]) for part in range(parts)}
        for low, high in pairwise([*sorted(cuts), int(times[-1]) + 1]):
            touched = [run for run in self._runs if run.times[0] < high and run.times[-1] >= low]
            yield Window([_Piece(run, low, high) for run in touched])


class _Piece:
    """The flows of a run within a stretch of time."""

    def __init__(self, run: _Run, low: int, high: int) -> None:
        with run.path.open("rb", buffering=0) as file:
            first, end = run.within(file, low, high)
            self.numbers = {name: run.numbers[name].read(file, first, end) for name in NUMBERS}
            self.numbers["log"] = np.full(end - first, run.log, np.int32)
            self.strings: dict[str, tuple[Array, list[str]] | pa.LargeStringArray] = {}
            for name, strings in run.strings.items():
                if isinstance(strings, _Few):
                    self.strings[name] = strings.codes.read(file, first, end), strings.values
                else:
                    self.strings[name] = strings.read(file, first, end)


class Window:
    """The flows of a stretch of time, in order of time (ties: reading order)."""

    def __init__(self, pieces: Sequence[_Piece]) -> None:
        self._numbers = {name: np.concatenate([piece.numbers[name] for piece in pieces]) for name in pieces[0].numbers}
        self._strings = {name: _together([piece.strings[name] for piece in pieces]) for name in STRINGS}

    @cached_property
    def order(self) -> Integers:
        """The places of the flows, as they were put together, in order of time."""
        return np.argsort(self._numbers["ts"], kind="stable")

    def leave_out(self, rows: Array) -> None:
        """Take out the rows that a mask marks."""
        self.order = self.order[~rows]

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, name: str) -> Array:
        """Return one of `NUMBERS`, or `log`."""
        return self._numbers[name].take(self.order)

    def strings(self, name: str) -> pa.Array:
        """Return one of `STRINGS`, as it is or by a dictionary."""
        return self._strings[name].take(pa.array(self.order))


def _write(file: BinaryIO, values: Array, order: Integers) -> _Column:
    """Append values in order, or remember the only one there is."""
    start, first = file.tell(), values[0]
    if (first == values[-1] and bool((values == first).all())) or (first != first and bool(np.isnan(values).all())):
        return _Column(start, values.dtype, first.item())
    return _append(file, values.take(order))


def _append(file: BinaryIO, values: Array) -> _Column:
    start, left = file.tell(), values.view(np.uint8).data
    while left:
        left = left[file.write(left) :]
    return _Column(start, values.dtype)


def _write_strings(file: BinaryIO, strings: pl.Series, order: Integers) -> _Few | _Many:
    """Append strings in order; those of few different values, as addresses often are, by numbers of them."""
    if strings.head(_FEW).n_unique() <= _FEW // 4:
        few = pl.Categorical(pl.Categories.random())
        coded = strings.cast(few)  # as long as it is there polars knows the values
        values = [value or "" for value in few.categories]
        if len(values) <= _FEW:
            return _Few(_write(file, coded.to_physical().to_numpy().astype(np.int16), order), values)
    array = strings.to_arrow(compat_level=pl.CompatLevel.oldest()).take(pa.array(order))
    _, offsets, text = array.buffers()
    places = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    ends = (places[1:] - places[0]).astype(np.uint32 if places[-1] - places[0] < 2**32 else np.uint64)
    return _Many(_append(file, ends), _append(file, np.frombuffer(text, np.uint8)[places[0] : places[-1]]))


def _together(pieces: Sequence[tuple[Array, list[str]] | pa.LargeStringArray]) -> pa.Array:
    """Join strings; by one dictionary, if all have theirs."""
    coded = [piece for piece in pieces if isinstance(piece, tuple)]
    if len(coded) == len(pieces):
        return _by_dictionary(coded)
    arrays = [_by_dictionary([piece]) if isinstance(piece, tuple) else piece for piece in pieces]
    return pa.concat_arrays([array.cast(pa.large_string()) for array in arrays])


def _by_dictionary(pieces: Sequence[tuple[Array, list[str]]]) -> pa.DictionaryArray:
    numbers: dict[str, int] = {}
    codes = [np.array([numbers.setdefault(v, len(numbers)) for v in values], np.int32)[own] for own, values in pieces]
    return pa.DictionaryArray.from_arrays(np.concatenate(codes), pa.array(list(numbers), pa.string()))
