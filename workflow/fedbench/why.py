"""What a dry run announces, in words: each job with its reason, and of a changed parameter what has changed in it.

`snakemake --dry-run --quiet host | python -m fedbench.why`
"""

import ast
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NOTHING = "Nothing to be done"
_JOB = re.compile(r"^Job \d+: (?P<message>.+)\nReason: (?P<reason>.+)$", re.MULTILINE)
_PARAMS = re.compile(r"Params have changed since last execution: .*?: before: (?P<values>.*)")
_FINGERPRINT = re.compile(r"(\S+\.py:[0-9a-f]{12}( |$))+")
_FILES = {
    "Missing output files": "missing",
    "Incomplete output files": "cut off while it was written",
    "Updated input files": "input is newer and differs",
    "Input files updated by another job": "input is made again",
}
_WORDS = {
    "Forced execution": "asked for",
    "Set of input files has changed since last execution": "it has other input files than last time",
    "Code has changed since last execution": "its script is newer than its files",
    "Software environment definition has changed since last execution": "its environment has changed",
}
_SHOWN, _WIDTH = 3, 60


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a dry run: the message of its rule, and the reasons for it."""

    message: str
    reasons: tuple[str, ...]
    is_cause: bool
    """It would run whatever became of the jobs before it."""


def read(text: str) -> list[Job]:
    """Return the jobs that the text of a dry run announces, in its order."""
    return [_job(found["message"], found["reason"]) for found in _JOB.finditer(text)]


def _job(message: str, reason: str) -> Job:
    params = _PARAMS.search(reason)
    parts = reason[: params.start() if params else None].rstrip("; ").split("; ")
    reasons, derived = [], 0
    for part in filter(None, parts):
        kind, _, files = part.partition(": ")
        derived += kind == "Input files updated by another job"
        reasons.append(f"{_FILES[kind]}: {_listed(files)}" if kind in _FILES else _WORDS.get(part, part))
    changed = list(_changes(params["values"])) if params else []
    # Files that are missing beside an input that is made again may be missing for that alone.
    return Job(message, (*changed, *reasons), bool(changed) or not derived)


def _listed(files: str) -> str:
    names = sorted(name for name in files.split(", "))
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _changes(values: str) -> Iterator[str]:
    """Yield what has changed from the values before to those now; a value is printed as Python writes it."""
    old, new = _split(values)
    code = [_files(found) for found in (old, new)]
    for file in sorted(code[0].keys() | code[1].keys()):
        before, now = (side.get(file) for side in code)
        if before != now:
            kind = "changed" if before and now else "used now" if now else "not used any more"
            yield f"code: {file} ({kind})"
    rest = [[value for value in found if not _is_code(value)] for found in (old, new)]
    if [len(found) for found in rest] == [1, 1]:
        yield from _difference("", *(_decoded(found[0]) for found in rest))
    elif any(rest):
        before, now = (", ".join(_short(value) for value in found) or "nothing" for found in rest)
        yield f"parameters: {before} -> {now}"


def _split(values: str) -> tuple[list[Any], list[Any]]:
    """Return the values on both sides of the one `now:` that leaves something to read on either."""
    for found in re.finditer(r" now: ", values):
        try:
            sides = (values[: found.start()], values[found.end() :].strip())
            old, new = (ast.literal_eval(f"[{'' if side == '<nothing exclusive>' else side}]") for side in sides)
        except (SyntaxError, ValueError):
            continue
        return old, new
    return [values], []


def _is_code(value: Any) -> bool:
    return isinstance(value, str) and _FINGERPRINT.fullmatch(value) is not None


def _files(values: list[Any]) -> dict[str, str]:
    """Return the files of all fingerprints among the values, with their digits."""
    return dict(part.split(":") for value in values if _is_code(value) for part in value.split())


def _decoded(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _difference(key: str, old: Any, new: Any) -> Iterator[str]:
    """Yield `key: old -> new` for each place at which two values differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _difference(f"{key}.{name}".strip("."), old.get(name), new.get(name))
    elif old != new:
        yield f"{key or 'parameter'}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def told(jobs: list[Job]) -> Iterator[str]:
    """Yield the lines that tell of jobs: first those with a reason of their own, then those that follow from them."""
    if not jobs:
        yield "Nothing would run: all is up to date."
        return
    yield f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'} would run."
    for title, chosen in (
        ("For a reason of their own", [job for job in jobs if job.is_cause]),
        ("Because of those", [job for job in jobs if not job.is_cause]),
    ):
        if chosen:
            yield f"\n{title}:"
        for job in sorted(chosen, key=lambda job: job.message):
            yield f"  {job.message}"
            yield from (f"      {reason}" for reason in job.reasons)


def main() -> None:
    """Tell of the dry run on stdin."""
    text = sys.stdin.read()
    jobs = read(text)
    if not jobs and NOTHING not in text:
        sys.exit(text or "fedbench: no dry run on stdin")
    print(*told(jobs), sep="\n")


if __name__ == "__main__":
    main()
