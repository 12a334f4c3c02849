"""Plain, gzip and zstd text as blocks of whole lines, so that memory does not grow with the file."""

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa

from fedbench.errors import FedbenchError

BLOCK_BYTES = 8 << 20
_LONGEST_LINE = 64 << 20
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"PAR1": "Parquet", b"\x04\x22\x4d\x18": "lz4"}
PIECE = 1 << 18  # bytes looked at together: they and what is computed from them stay in the processor's cache

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Integers = np.ndarray[Any, np.dtype[np.int64]]


def compression(path: Path) -> str | None:
    """Tell gzip and zstd by the file's first bytes; names lie.

    Raises:
        FedbenchError: it is no log by its first bytes.
    """
    with path.open("rb") as stream:
        head = stream.read(8)
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise FedbenchError(f"a {name} file", where=path, remedy="Unpack it first: logs are plain, gzip or zstd.")
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def blocks(path: Path, size: int = BLOCK_BYTES) -> Iterator[tuple[int, bytes]]:
    """Yield (number of the first line, from 1; bytes that end in a newline) through the whole file.

    Raises:
        FedbenchError: the compressed stream is damaged, or a line is longer than 64 MiB (not a text log).
    """
    line, buffer, held = 1, bytearray(size), 0
    if path.exists() and not path.is_file():  # a pipe gives its bytes once, and they are read more than once
        raise FedbenchError("not a file", where=path, remedy="Name the log itself; write what a pipe gives to a file.")
    try:
        with _open(path) as stream:
            while read := stream.readinto(memoryview(buffer)[held:]):
                held += read
                end = buffer.rfind(b"\n", 0, held) + 1
                if end:
                    block = bytes(memoryview(buffer)[:end])
                    yield line, block
                    line += count(block, b"\n")
                    buffer[: held - end] = buffer[end:held]
                    held -= end
                elif held > _LONGEST_LINE:
                    raise FedbenchError("line longer than 64 MiB: not a text log", where=f"{path}:{line}")
                elif held == len(buffer):
                    buffer += bytes(size)
    except (EOFError, OSError, zlib.error) as error:
        if isinstance(error, FileNotFoundError):
            raise FedbenchError("no such log", where=path, remedy="Check the path.") from error
        raise FedbenchError(
            f"cannot be read to its end: {error}", where=path, remedy="Fetch the file again; it may be truncated."
        ) from error
    if held:
        yield line, bytes(buffer[:held]) + b"\n"


def pieces(text: bytes) -> Iterator[Bytes]:
    """Cut `text` into arrays of `PIECE` bytes, and one more: the byte that the next begins with."""
    data = np.frombuffer(text, dtype=np.uint8)
    for start in range(0, len(data), PIECE):
        yield data[start : start + PIECE + 1]


def count(text: bytes, byte: bytes) -> int:
    """Count a frequent byte, four times as fast as `bytes.count`, which stops at each."""
    return sum(int(np.count_nonzero(piece[:PIECE] == byte[0])) for piece in pieces(text))


def raw_lines(path: Path, numbers: Integers) -> Iterator[pl.Series]:
    """Yield the texts of the given lines (from 1, ascending), some at a time; bytes not UTF-8 as backslash escapes."""
    for first, block in blocks(path) if numbers.size else ():
        if numbers[-1] < first:
            return
        ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n"))
        wanted = numbers[slice(*np.searchsorted(numbers, [first, first + len(ends)]))] - first
        if wanted.size:
            offsets = pa.py_buffer(np.concatenate([[0], ends + 1]))
            lines = pa.Array.from_buffers(pa.large_binary(), len(ends), [None, offsets, pa.py_buffer(block)])
            chosen = lines.take(pl.Series(wanted).to_arrow())
            try:
                texts = pl.Series("text", chosen.cast(pa.large_string()))
            except pa.ArrowInvalid:
                texts = pl.Series("text", [text.as_py().decode(errors="backslashreplace") for text in chosen])
            yield texts.str.strip_suffix("\n").str.strip_suffix("\r")


def _open(path: Path) -> BufferedIOBase:
    match compression(path):
        case "gzip":
            return cast(BufferedIOBase, gzip.open(path))
        case "zstd":
            return cast(BufferedIOBase, pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
        case _:
            return path.open("rb")
