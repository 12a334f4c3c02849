"""Zeek conn logs, tab-separated or JSON lines, cut into parts of one layout: columns by name, nothing lost."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fedbench.errors import FedbenchError
from fedbench.flows import jsonlines, tabular
from fedbench.flows.blocks import blocks
from fedbench.flows.chunk import Chunk
from fedbench.flows.schema import COLUMNS, REQUIRED, canonical
from fedbench.flows.tabular import Layout

Format = Literal["auto", "zeek", "json"]


@dataclass(frozen=True)
class Part:
    """Whole lines of a log, from line `first`, that are all written the same way."""

    text: bytes
    first: int
    layout: Layout

    def parse(self) -> Chunk:
        """Read the rows."""
        if self.layout.json:
            return jsonlines.parse(self.text, self.first)
        return tabular.parse(self.text, self.first, self.layout)


# Fallback for logs without any header, told by the number of columns; 2014 logs have no local_resp.
_WITHOUT_LOCAL_RESP = tuple(name for name in COLUMNS if name != "local_resp")
_BY_POSITION = {len(names): names for names in (COLUMNS, _WITHOUT_LOCAL_RESP, COLUMNS[:-2], _WITHOUT_LOCAL_RESP[:-2])}
_A_ROW = re.compile(rb"^[^#\r\n]", re.M)
_DIRECTIVE = re.compile(rb"^(?:#(?:separator|unset_field|empty_field|path|fields)\b|ts[\t|,]uid\b).*\n", re.M)


def parts(path: Path, format: Format = "auto") -> Iterator[Part]:
    """Cut a log into parts, a block at a time; parts can be parsed in any order, or at the same time.

    Columns come from the `#fields` line, else from a plain header line, else (no header at all) from the number of
    columns in published order. The last columns of IoT-23 logs are separated by three spaces instead of a tab.

    Raises:
        FedbenchError: the log is empty, its columns cannot be told, or a required column is absent.
    """
    layout, empty = Layout(json=format == "json"), True
    for first, block in blocks(path):
        if first == 1:
            block = block.removeprefix(b"\xef\xbb\xbf")
        for line, text, directives in _cut(block, first, json_lines=layout.json):
            for directive in directives:
                layout = _directed(layout, directive, path)
            if not layout.columns and not layout.json and text.strip():
                layout, text, line = _without_directives(layout, text, line, path, format)
            if text:
                empty = empty and not (text.strip() and _A_ROW.search(text))
                yield Part(text, line, layout)
    if empty:
        raise FedbenchError(
            "empty log: no flow in it", where=path, remedy="Fetch the file again, or take it out of the list of logs."
        )


def _cut(block: bytes, first: int, *, json_lines: bool) -> Iterator[tuple[int, bytes, list[bytes]]]:
    """Cut a block at the lines that change the layout: (first line of the part, its bytes, directives before it)."""
    marked = b"#" in block or b"_" in block  # rare bytes that every such line has: other blocks are told at once
    if json_lines or not (marked and (block.startswith((b"#", b"ts")) or b"\n#" in block or b"\nts" in block)):
        yield first, block, []
        return
    start, line, directives = 0, first, list[bytes]()
    for match in _DIRECTIVE.finditer(block):
        if match.start() > start:
            yield line, block[start : match.start()], directives
            directives = []
        directives.append(match.group().rstrip(b"\r\n"))
        line += block.count(b"\n", start, match.end())
        start = match.end()
    yield line, block[start:], directives


def _directed(layout: Layout, directive: bytes, path: Path) -> Layout:
    """Apply a `#` directive, or a plain header line, to the layout."""
    if not directive.startswith(b"#"):
        separator = directive[2:3]
        return _named(replace(layout, separator=separator), directive.split(separator), path)
    name, _, value = directive.partition(b" " if directive.startswith(b"#separator") else layout.separator)
    match name:
        case b"#separator":
            separator = re.sub(rb"\\x([0-9a-fA-F]{2})", lambda m: bytes([int(m[1], 16)]), value)
            if len(separator) != 1 or separator in b"\r\n#" or not separator.isascii():
                raise FedbenchError(
                    f"#separator {value.decode(errors='backslashreplace')!r} is not one ASCII character",
                    where=path,
                    remedy="Mend the header; Zeek writes `#separator \\x09` for tabs.",
                )
            return replace(layout, separator=separator)
        case b"#unset_field":
            return replace(layout, unset=value.decode(errors="replace"))
        case b"#empty_field":
            return replace(layout, empty=value.decode(errors="replace"))
        case b"#path":
            if value.strip() not in (b"conn", b""):
                raise not_conn(f"its #path is {value.decode(errors='replace').strip()!r}", path)
            return layout
        case _:
            return _named(layout, value.replace(b"   ", layout.separator).split(layout.separator), path)


def _named(layout: Layout, names: list[bytes], path: Path) -> Layout:
    columns = tuple(canonical(name.decode(errors="replace")) for name in names)
    absent = [name for name in REQUIRED if name not in columns]
    if absent:
        raise not_conn(f"no column {', '.join(absent)}", path)
    if len(set(columns)) < len(columns):
        raise FedbenchError("a column name stands twice in the header", where=path)
    return replace(layout, columns=columns, by_position=False)


def not_conn(why: str, path: Path) -> FedbenchError:
    """Return the error for a log of another kind."""
    return FedbenchError(f"not a conn log: {why}", where=path, remedy="Give Zeek's conn.log; other logs hold no flows.")


def _without_directives(
    layout: Layout, part: bytes, line: int, path: Path, format: Format
) -> tuple[Layout, bytes, int]:
    """Find the layout of a log whose first row comes without `#fields`; returns also what is left of the part."""
    rows = [row for row in part.split(b"\n", 50) if row.strip() and not row.startswith(b"#")]
    if not rows:
        return layout, b"", line
    first = rows[0].strip()
    if first.startswith(b"{") and format != "zeek":
        return replace(layout, json=True), part, line
    names = first.split(layout.separator)
    if b"uid" in names:  # a plain header whose columns stand in another order
        end = part.index(rows[0]) + len(rows[0]) + 1
        return _named(layout, names, path), part[end:], line + part.count(b"\n", 0, end)
    columns = _BY_POSITION.get(len(first.replace(b"   ", layout.separator).split(layout.separator)))
    if columns is None:
        raise FedbenchError(
            "columns unknown: no #fields line, no header line, and the first row is not in Zeek's order",
            where=f"{path}:{line}",
            remedy="Give a Zeek conn log (tab-separated or JSON lines), with its header.",
        )
    return replace(layout, columns=columns, by_position=True), part, line
