"""The words for a dry run: each job once, its reasons, and what has changed in a parameter."""

import subprocess
import sys

from fedbench.why import read, told

CODE = "flows/clean.py:0123456789ab flows/zeek.py:{}"
TEXT = """Building DAG of jobs...
[Sat Nov 21 19:56:38 2026]
Job 3: IoT-23: logs to typed flows
Reason: {}
[Sat Nov 21 19:56:38 2026]
Job 4: Score: gsfs-majority-s0-c8c01c85
Reason: Input files updated by another job: d, c, b, a, e
[Sat Nov 21 19:56:38 2026]
rule all:
    input: a
    reason: Input files updated by another job: a
"""
PARAMS = (
    "Params have changed since last execution: "
    "Union of exclusive params before and now across all output: before: {} now: {} "
)


def first(reason: str) -> tuple[str, ...]:
    return read(TEXT.format(reason))[0].reasons


def test_jobs_come_with_their_messages_and_all_is_no_job():
    jobs = read(TEXT.format("Missing output files: x"))
    assert [job.message for job in jobs] == ["IoT-23: logs to typed flows", "Score: gsfs-majority-s0-c8c01c85"]
    assert [job.is_cause for job in jobs] == [True, False]
    assert jobs[1].reasons == ("input is made again: a, b, c and 2 more",)


def test_of_a_fingerprint_the_modules_that_changed_are_named():
    old, new = CODE.format("aaaaaaaaaaaa"), CODE.format("bbbbbbbbbbbb") + " progress.py:cccccccccccc"
    reasons = first(PARAMS.format(repr(old), repr(new)))
    assert reasons == ("code: flows/zeek.py (changed)", "code: progress.py (used now)")


def test_of_a_specification_the_keys_that_changed_are_named():
    old, new = (
        '{"flows": {"sample": 200, "rows": 6}, "seeds": [0]}',
        '{"flows": {"sample": 150, "rows": 6}, "seeds": [0, 1]}',
    )
    code = repr(CODE.format("aaaaaaaaaaaa")), repr(CODE.format("bbbbbbbbbbbb"))
    reasons = first(PARAMS.format(f"{old!r},{code[0]}", f"{code[1]},{new!r}"))
    assert reasons == ("code: flows/zeek.py (changed)", "flows.sample: 200 -> 150", "seeds: [0] -> [0, 1]")


def test_texts_may_hold_what_also_separates_them():
    old, new = "before now: it's; then", "after, now: 2"
    reasons = first("Missing output files: x; " + PARAMS.format(repr(old), repr(new)))
    assert reasons == (f"parameter: {old} -> {new}", "missing: x")


def test_a_parameter_that_is_new_has_nothing_before_it():
    assert first(PARAMS.format("<nothing exclusive>", "0.5")) == ("parameters: nothing -> 0.5",)


def test_causes_are_told_before_what_follows_from_them():
    lines = list(told(read(TEXT.format("Forced execution"))))
    assert lines[0] == "2 jobs would run."
    assert [
        lines.index(f"  {name}") for name in ("IoT-23: logs to typed flows", "Score: gsfs-majority-s0-c8c01c85")
    ] == [2, 5]


def test_what_is_no_dry_run_is_shown_as_it_is():
    told = [
        subprocess.run([sys.executable, "-m", "fedbench.why"], input=text, capture_output=True, text=True, check=False)
        for text in ("WorkflowError:\nkey 'rounds': must be positive", "Nothing to be done (all requested files ...).")
    ]
    assert told[0].returncode == 1
    assert "key 'rounds'" in told[0].stderr
    assert told[1].returncode == 0
    assert "up to date" in told[1].stdout
