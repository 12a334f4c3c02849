"""One printed number beside the same one computed from others, with the rounding of all of them."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

AuditVerdict = Literal["holds", "within rounding", "does not hold"]
AUDIT_VERDICTS: tuple[AuditVerdict, ...] = ("holds", "within rounding", "does not hold")
Function = Callable[[Sequence[float]], float]


@dataclass(frozen=True, slots=True)
class Cell:
    """One printed number; it stands for everything that rounds to it."""

    value: float
    digits: int

    @property
    def half(self) -> float:
        """Half a unit in the last printed place."""
        return float(0.5 * 10**-self.digits)

    def __str__(self) -> str:
        return f"{self.value:,.{self.digits}f}"


Cells = dict[tuple[str, str, str], Cell]
"""(table, row, column) -> cell."""


@dataclass(frozen=True, slots=True)
class Check:
    """One printed number beside the same one computed from others.

    Attributes:
        rule, claim, where: what is checked, of what, and where it is printed.
        source: the arithmetic, with the printed values in it.
        low, high: the least and the greatest result that inputs which round to the printed ones can give.
        at_most: the printed number has to be no larger than the computed one, rather than equal to it.
    """

    rule: str
    claim: str
    where: str
    source: str
    computed: float
    low: float
    high: float
    printed: Cell
    at_most: bool = False

    @property
    def verdict(self) -> AuditVerdict:
        """holds: the computed value rounds to the printed one. within rounding: some value of its inputs does."""
        low, high = self.printed.value - self.printed.half - 1e-9, self.printed.value + self.printed.half + 1e-9
        if low <= self.computed and (self.at_most or self.computed <= high):
            return "holds"
        return "within rounding" if low <= self.high and (self.at_most or self.low <= high) else "does not hold"

    @property
    def difference(self) -> float:
        """Printed less computed; of a bound, only what goes beyond it."""
        difference = self.printed.value - self.computed
        return max(0.0, difference) if self.at_most else difference


def check(
    rule: str,
    claim: str,
    where: str,
    source: str,
    given: Sequence[Cell],
    printed: Cell,
    function: Function,
    at_most: bool = False,
) -> Check:
    """Compute a check and, from the corners of the inputs' rounding, how far the result may lie either way.

    Whole numbers are taken as exact. Every function used is monotone in each input, so its extremes are at corners.
    """
    halves = [cell.half if cell.digits else 0.0 for cell in given]
    values = [cell.value for cell in given]
    corners = [
        function([value + sign * half for value, half, sign in zip(values, halves, signs, strict=True)])
        for signs in itertools.product((-1, 1), repeat=len(given))
    ]
    computed = function(values)
    return Check(rule, claim, where, source.format(*given), computed, min(corners), max(corners), printed, at_most)
