"""Plain, gzip and zstd text as blocks of whole lines, so that memory does not grow with the file."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from fedbench.errors import FedbenchError

BLOCK_BYTES = 8 << 20
_LONGEST_LINE = 64 << 20
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def compression(path: Path) -> str | None:
    """Tell gzip and zstd by the file's first bytes; names lie."""
    with path.open("rb") as stream:
        head = stream.read(4)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def blocks(path: Path, size: int = BLOCK_BYTES) -> Iterator[tuple[int, bytes]]:
    """Yield (number of the first line, from 1; bytes that end in a newline) through the whole file.

    Raises:
        FedbenchError: the compressed stream is damaged, or a line is longer than 64 MiB (not a text log).
    """
    line, rest = 1, b""
    try:
        with _open(path) as stream:
            while chunk := stream.read(size):
                chunk = rest + chunk
                end = chunk.rfind(b"\n") + 1
                block, rest = chunk[:end], chunk[end:]
                if len(rest) > _LONGEST_LINE:
                    raise FedbenchError("line longer than 64 MiB: not a text log", where=f"{path}:{line}")
                if block:
                    yield line, block
                    line += block.count(b"\n")
    except (EOFError, OSError, zlib.error) as error:
        if isinstance(error, FileNotFoundError):
            raise FedbenchError("no such log", where=path, remedy="Check the path.") from error
        raise FedbenchError(
            f"cannot be read to its end: {error}", where=path, remedy="Fetch the file again; it may be truncated."
        ) from error
    if rest:
        yield line, rest + b"\n"


def raw_lines(path: Path, numbers: set[int]) -> dict[int, str]:
    """Return the text of the given lines (from 1); bytes that are not UTF-8 appear as backslash escapes."""
    found: dict[int, str] = {}
    for first, block in blocks(path):
        wanted = numbers.intersection(range(first, first + block.count(b"\n")))
        if wanted:
            lines = block.split(b"\n")
            found |= {n: lines[n - first].removesuffix(b"\r").decode(errors="backslashreplace") for n in wanted}
    return found


def _open(path: Path) -> BinaryIO:
    match compression(path):
        case "gzip":
            return cast(BinaryIO, gzip.open(path))
        case "zstd":
            return cast(BinaryIO, pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
        case _:
            return path.open("rb")
