"""A small text grammar: templates with `{slots}` that are filled from word lists."""

import random
import re
from collections.abc import Callable, Mapping, Sequence

Choice = Sequence[str] | Callable[[random.Random], str]
_SLOT = re.compile(r"\{([a-z]+)(\d*)\}")


class Filler:
    """Fills templates; within one Filler a slot keeps its value, so question and answer agree.

    `{room}` and `{room2}` are two draws from the list `room`, and differ where the list allows it. A drawn text may
    hold slots itself.
    """

    def __init__(self, vocabulary: Mapping[str, Choice], rng: random.Random) -> None:
        self.vocabulary, self.rng = vocabulary, rng
        self.values: dict[str, str] = {}

    def fill(self, template: str) -> str:
        """Return `template` with every slot filled.

        Raises:
            KeyError: a slot has no word list.
        """
        return _SLOT.sub(self._value, template)

    def _value(self, slot: re.Match[str]) -> str:
        name, key = slot.group(1), slot.group(0)
        if key not in self.values:
            choice = self.vocabulary[name]
            taken = {value for other, value in self.values.items() if other.strip("{}0123456789") == name}
            text = self._draw(choice)
            for _ in range(8):
                if text not in taken:
                    break
                text = self._draw(choice)
            self.values[key] = text
        return self.values[key]

    def _draw(self, choice: Choice) -> str:
        return self.fill(choice(self.rng) if callable(choice) else self.rng.choice(choice))


def clock(first: int, last: int) -> Callable[[random.Random], str]:
    """Return a drawer of times of day between hour `first` and hour `last` (0-23, both in), such as "3:05 AM"."""

    def draw(rng: random.Random) -> str:
        hour, minute = rng.randint(first, last), rng.randrange(0, 60)
        return f"{(hour - 1) % 12 + 1}:{minute:02d} {'AM' if hour < 12 else 'PM'}"

    return draw


def number(low: int, high: int) -> Callable[[random.Random], str]:
    """Return a drawer of whole numbers between `low` and `high`, both in."""
    return lambda rng: str(rng.randint(low, high))
