"""A model whose weights are not to be had: its snapshot folder holds the reason instead, so that tables can say it."""

from pathlib import Path

from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json

NAME = "unavailable.json"


class UnavailableError(FedbenchError):
    """A base model is not to be had."""


def mark(folder: Path, model: str, reason: str, remedy: str, shown: Path) -> None:
    """Leave the reason in `folder`.

    Args:
        shown: the folder that a user deletes to try again (`folder` may still be a temporary one).
    """
    write_json(folder / NAME, {"model": model, "reason": reason, "remedy": remedy, "folder": str(shown)})


def reason(snapshot: Path) -> str | None:
    """Return why a model is not there and how to try again, or None where it is."""
    path = snapshot / NAME
    if not path.is_file():
        return None
    told = read_json(path)
    return (
        f"{told['model']}: {told['reason']}. Remedy: {told['remedy']}; then delete {told['folder']} (or `make retry`) "
        "and run the same command again."
    )


def require(snapshot: Path) -> None:
    """Refuse a snapshot without weights.

    Raises:
        UnavailableError: says why they are not there.
    """
    message = reason(snapshot)
    if message:
        raise UnavailableError(message)
