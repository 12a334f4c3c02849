"""From a generated answer to a label."""

import re
from collections.abc import Sequence


def parse(answer: str, labels: Sequence[str]) -> str | None:
    """Return the first of `labels` that `answer` names, or None (unparsed).

    Case is ignored and a label must stand as a whole word ("abnormal" does not name "Normal"). Where two labels begin
    at the same place the longer one counts ("highly likely" before "highly").
    """
    ordered = sorted((label for label in labels if label.strip()), key=len, reverse=True)
    if not ordered:
        return None
    pattern = "|".join(f"({re.escape(label.strip())})" for label in ordered)
    match = re.search(rf"(?<!\w)(?:{pattern})(?!\w)", answer, re.IGNORECASE)
    return ordered[match.lastindex - 1] if match and match.lastindex else None
