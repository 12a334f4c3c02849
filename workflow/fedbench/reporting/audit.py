"""The papers' printed numbers checked against each other: every check is computed, none is typed in as a result."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from fedbench.reporting import claims
from fedbench.reporting.checks import AUDIT_VERDICTS, Cell, Cells, Check, check
from fedbench.reporting.results import Estimate
from fedbench.reporting.verdicts import read_published

# table, precision, recall, F1, accuracy
_QUALITY = {
    "gsfs": ("II", "Precision", "Recall", "F1", "Accuracy"),
    "edge-fit": ("III", "Precision", "Recall", "F1-score", "Accuracy"),
}
_THROUGHPUT = "Requests a minute = 60 s / latency"
_RECALL = "Recall = accuracy, if classes are weighted by support"
_F1 = "F1 = 2PR / (P + R), if there is a single class"
_F1_BOUND = "F1 ≤ 2PR / (P + R), however classes are averaged"


def audit(folder: Path, paper: str) -> pd.DataFrame:
    """Return one row a check of a paper's printed numbers; `attrs["findings"]` says what they come to.

    Args:
        folder: of <paper>.csv and claims.csv.
        paper: "gsfs" or "edge-fit".
    """
    checked = list(checks(read_published(folder, paper), claims.read(folder, paper), paper))
    frame = pd.DataFrame([_row(check) for check in checked])
    frame.attrs["findings"] = list(_findings(checked))
    return frame


def checks(published: pd.DataFrame, said: pd.DataFrame, paper: str) -> Iterator[Check]:
    """Yield what the text claims, then what the columns of each table must be to each other."""
    columns = ["table", "row", "column", "value", "digits", "unit"]
    cells: Cells = {}
    times = set()
    for table, row, column, value, digits, unit in published[columns].itertuples(index=False, name=None):
        cells[str(table), str(row), str(column)] = Cell(float(value), int(digits))
        if unit in ("ms", "s"):
            times.add(str(column))
    for claim in said.to_dict("records"):
        yield claims.verify({str(key): value for key, value in claim.items()}, cells, times)
    yield from _throughput(cells)
    yield from _quality(cells, *_QUALITY[paper])


def _throughput(cells: Cells) -> Iterator[Check]:
    """Yield requests a minute against latency, which is in milliseconds in Table II and in seconds in Table III."""
    for (table, row, column), printed in cells.items():
        if not column.startswith("Energy efficiency"):
            continue
        scope = column.removeprefix("Energy efficiency")
        latency = cells[table, row, ("Latency" if scope else "Response latency") + scope]
        minute = 60 if scope else 60_000
        function = partial(_over, minute)
        yield check(_THROUGHPUT, row + scope, f"Table {table}", f"{minute:,} / {{}}", [latency], printed, function)


def _quality(cells: Cells, table: str, precision: str, recall: str, f1: str, accuracy: str) -> Iterator[Check]:
    """Yield what precision, recall, F1 and accuracy are to each other.

    Recall weighted by support is accuracy. F1 of one class is the harmonic mean of P and R. That mean is concave, so an
    average of F1 over classes is at most the harmonic mean of P and R averaged alike (Jensen).
    """
    rows = [row for (number, row, column) in cells if (number, column) == (table, f1)]
    where = f"Table {table}"
    for row in rows:
        yield check(_RECALL, row, where, "{}", [cells[table, row, accuracy]], cells[table, row, recall], sum)
    for rule, at_most in ((_F1, False), (_F1_BOUND, True)):
        for row in rows:
            given = [cells[table, row, precision], cells[table, row, recall]]
            source = "2 × {0} × {1} / ({0} + {1})"
            yield check(rule, row, where, source, given, cells[table, row, f1], _harmonic, at_most)


def _over(numerator: float, values: Sequence[float]) -> float:
    return numerator / values[0]


def _harmonic(values: Sequence[float]) -> float:
    return 2 * values[0] * values[1] / (values[0] + values[1])


def _row(check: Check) -> dict[str, object]:
    digits = check.printed.digits + 2
    difference = round(check.difference, digits) + 0.0  # no -0
    share = f"{100 * difference / check.printed.value:+.3f} %" if difference else ""
    return {
        "Rule": check.rule,
        "Claim or row": check.claim,
        "Printed in": check.where,
        "Computed from": check.source,
        "Computed": Estimate(check.computed, digits=digits),
        "Printed": Estimate(check.printed.value, digits=check.printed.digits),
        "Difference": Estimate(difference, digits=digits if difference else 0, remark=share),
        "verdict": check.verdict,
    }


def _findings(checked: Sequence[Check]) -> Iterator[str]:
    """Yield what the checks come to, in sentences made from them: the text's claims, then each rule of the tables."""
    said = [check for check in checked if check.rule in claims.RULES.values()]
    counts = {name: sum(check.verdict == name for check in said) for name in AUDIT_VERDICTS}
    yield f"{len(said)} claims: {counts['holds']} hold, {counts['within rounding']} within rounding only, " + (
        f"{counts['does not hold']} {'fails' if counts['does not hold'] == 1 else 'fail'}."
    )
    for one in said:
        if one.verdict == "does not hold":
            computed = f"{one.computed:,.{one.printed.digits}f}"
            yield f"{one.where}, {one.claim}: printed {one.printed}, computed {computed}."
    for rule in (_THROUGHPUT, _RECALL, _F1, _F1_BOUND):
        part = [check for check in checked if check.rule == rule]
        if part:
            yield _of_rule(rule, part)


def _of_rule(rule: str, part: Sequence[Check]) -> str:
    failed = {c.claim: abs(c.difference) / c.printed.value for c in part if c.verdict == "does not hold"}
    text = f"{rule}: {len(part) - len(failed)} of {len(part)} to within rounding"
    if not failed:
        return f"{text}."
    worst = max(failed, key=lambda claim: failed[claim])
    text += f"; of the rest the largest difference is {100 * failed[worst]:.2g} % ({worst})."
    if rule == _THROUGHPUT and failed[worst] < 1e-3:
        text += " So the column says nothing that latency does not."
    if rule == _RECALL:
        text += " So recall was not weighted by support, or not taken from the same answers; the paper does not say."
    if rule == _F1:
        text += " Averages over classes need not obey it."
    return text
