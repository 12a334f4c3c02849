"""Reading Dolly-format JSONL: one object a line with `instruction`, `context`, `response` and `category`."""

import json
from pathlib import Path

from fedbench.errors import FedbenchError

KEYS = ("instruction", "context", "response", "category")


def read(path: Path) -> list[dict[str, str]]:
    """Return the records of `path` in file order, cut down to the four keys; blank lines are passed over.

    Raises:
        FedbenchError: a line that is not JSON, lacks a key, or holds something other than text; names file and line.
    """
    records = []
    with path.open("rb") as stream:  # bytes: a line ends at "\n" only, and a bad encoding still has its line number
        for number, line in enumerate(stream, start=1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if line.strip():
                records.append(_parse(line, f"{path}:{number}"))
    if not records:
        raise FedbenchError("the file holds no records", where=path, remedy="Fetch the file again.")
    return records


def _parse(line: bytes, where: str) -> dict[str, str]:
    remedy = "Mend or remove the line, or fetch the file again."
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FedbenchError(f"not UTF-8 at byte {error.start + 1} of the line", where=where, remedy=remedy) from error
    except (ValueError, RecursionError) as error:
        raise FedbenchError(f"not valid JSON: {error}", where=where, remedy=remedy) from error
    if not isinstance(value, dict):
        raise FedbenchError(f"expected a JSON object, found {type(value).__name__}", where=where, remedy=remedy)
    missing = [key for key in KEYS if key not in value]
    if missing:
        raise FedbenchError(f"the record lacks {', '.join(map(repr, missing))}", where=where, remedy=remedy)
    for key in KEYS:
        text = value[key]
        if not isinstance(text, str):
            raise FedbenchError(f"{key!r} must be text, found {type(text).__name__}", where=where, remedy=remedy)
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            raise FedbenchError(f"{key!r} holds half a surrogate pair", where=where, remedy=remedy)
        if key != "context" and not text.strip():
            raise FedbenchError(f"{key!r} is empty", where=where, remedy=remedy)
    return {key: value[key] for key in KEYS}
