"""A progress bar inside long jobs: rich on a terminal, silent elsewhere."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """A bar for one job; `stage` starts a count and `advance` moves it."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(file=sys.__stderr__),
            disable=not (sys.__stderr__ and sys.__stderr__.isatty()),
            transient=True,
        )
        self._task = self._progress.add_task(label, total=None, note="")

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def stage(self, name: str, total: int) -> None:
        """Start counting `total` steps of `name`."""
        self._progress.reset(self._task, total=total, description=f"{self._label}: {name}", note="")

    def advance(self, note: str = "") -> None:
        """Count one step."""
        self._progress.update(self._task, advance=1, note=note)

    def reached(self, step: int, total: int, what: str = "rounds") -> None:
        """Show `step` of `total` rounds, or of `what`."""
        self._progress.update(self._task, completed=step, total=total, description=f"{self._label}: {what}")
