"""Quality under a budget and cost to a target: the strategies side by side, GSFS against FedAvg seed by seed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import isnan

import pandas as pd

from fedbench.reporting.measures import gsfs, partitions
from fedbench.reporting.results import NOT_RUN, Estimate, Results, over_seeds
from fedbench.reporting.trajectories import (
    BYTES,
    SECONDS,
    VERSIONS,
    Strategy,
    cost_of,
    reference,
    score_within,
    strategies,
    subject,
)
from fedbench.spec import Experiment

NOT_REACHED, NO_VERSION = "not reached", "no version yet"
BETTER, WORSE, OPEN, SINGLE = "better", "worse", "undecided", "one seed"


@dataclass(frozen=True)
class Question:
    """One row of the table: what is asked of every run.

    Attributes:
        text: in short, "accuracy within 1.5 MiB".
        meaning: where the bound comes from, "25 % of FedAvg's mean".
        answer: trajectory of a run -> its value, None where it has none.
        larger: whether more is better: quality, and not a cost.
        size: of the unit that answers are shown in.
    """

    text: str
    meaning: str
    answer: Callable[[pd.DataFrame], float | None]
    larger: bool
    digits: int = 4
    size: float = 1

    def of(self, strategy: Strategy) -> dict[int, float]:
        """Return the answers of a strategy by seed, leaving out seeds that have none."""
        answers = {seed: self.answer(path) for seed, path in strategy.seeds.items()}
        return {seed: value / self.size for seed, value in answers.items() if value is not None}

    def cell(self, strategy: Strategy) -> Estimate | str:
        """Return the mean over seeds with its interval, cut off at what can be: accuracy up to 1, nothing below 0.

        Seeds without an answer are counted, not hidden.
        """
        answers, asked = self.of(strategy), len(strategy.seeds)
        estimate = over_seeds(list(answers.values()), self.digits)
        if estimate is None:
            return f"{NO_VERSION if self.larger else NOT_REACHED} (0 of {asked} seeds)"
        if len(answers) == asked:
            if estimate.low is None or estimate.high is None:
                return estimate
            high = min(1.0, estimate.high) if self.larger else estimate.high
            return replace(estimate, low=max(0.0, estimate.low), high=high)
        remark = f"reached in {len(answers)} of {asked} seeds"
        return Estimate(estimate.value, digits=self.digits, seeds=len(answers), remark=remark)


def budget(experiment: Experiment, results: Results) -> pd.DataFrame:
    """Return one row a question and partition, a column a strategy, and GSFS less FedAvg with a reading.

    `attrs["findings"]` says in sentences what the rows come to, one a partition.
    """
    spec = gsfs(experiment)
    rows: list[dict[str, object]] = []
    findings = []
    for partition, clients in partitions(spec).items():
        found = strategies(experiment, results, partition)
        if not found:
            note = f"{NOT_RUN}: no finished federated run with scored global versions"
            rows.append({"Question": NOT_RUN, "Clients": clients, "note": note})
            findings.append(f"{clients}: {NOT_RUN}.")
            continue
        base, ours = reference(found), subject(found)
        asked = []
        for question in _questions(experiment, found):
            cells: dict[str, object] = {strategy.title: question.cell(strategy) for strategy in found}
            if ours is not None and ours is not base:
                difference, reading = compare(question, ours, base)
                asked.append((question, reading))
                cells |= {f"{ours.title} less {base.title}": difference, "Reading": reading}
            head = {"Question": f"{question.text} ({question.meaning})", "Clients": clients}
            rows.append({**head, **cells, "note": ""})
        findings.append(f"{clients}: {finding(asked, ours, base)}")
    frame = pd.DataFrame(rows)
    frame = frame[[*frame.columns.drop("note"), "note"]].astype(object).where(frame.notna(), "")
    frame.attrs["findings"] = findings
    return frame


def readings(experiment: Experiment, results: Results) -> list[str]:
    """Return how GSFS reads against FedAvg in every row, over all partitions; nothing where they did not both run."""
    frame = budget(experiment, results)
    return [str(reading) for reading in frame["Reading"] if reading] if "Reading" in frame.columns else []


def compare(question: Question, ours: Strategy, base: Strategy) -> tuple[Estimate | str, str]:
    """Return the mean difference over the seeds that both answer, with Student's 95 % interval, and how it reads.

    A winner is named only where the interval leaves out zero and every seed of both has an answer, or where every seed
    of one has and no seed of the other.
    """
    mine, theirs = question.of(ours), question.of(base)
    both = sorted(mine.keys() & theirs.keys())
    difference = over_seeds([mine[seed] - theirs[seed] for seed in both], question.digits)
    whole = len(mine) == len(ours.seeds), len(theirs) == len(base.seeds)
    if difference is None:
        if len(mine) > 1 and whole[0] and not theirs:
            return "", f"{BETTER}: {base.title} never does"
        if len(theirs) > 1 and whole[1] and not mine:
            return "", f"{WORSE}: {ours.title} never does"
        return "", OPEN
    if not all(whole):
        return difference, f"{OPEN}: not every seed does"
    if difference.low is None or difference.high is None:
        return difference, SINGLE
    if difference.low <= 0 <= difference.high:
        return difference, OPEN
    return difference, BETTER if (difference.value > 0) is question.larger else WORSE


def finding(asked: list[tuple[Question, str]], ours: Strategy | None, base: Strategy) -> str:
    """Return in plain words whether GSFS beats FedAvg, from the readings and nothing else."""
    if ours is None or ours is base:
        return "GSFS and FedAvg did not both run, so they are not compared."
    if all(reading == SINGLE for _, reading in asked):
        return f"{ours.title} and {base.title} ran with one seed: no interval, so no winner is named."
    won = [question.text for question, reading in asked if reading.startswith(BETTER)]
    lost = [question.text for question, reading in asked if reading.startswith(WORSE)]
    parts = [
        f"{ours.title} beats {base.title} on {len(won)} of {len(asked)}: {'; '.join(won)}."
        if won
        else f"{ours.title} does not beat {base.title} on any of {len(asked)} comparisons."
    ]
    if lost:
        parts.append(f"It is worse on {len(lost)}: {'; '.join(lost)}.")
    rest = len(asked) - len(won) - len(lost)
    if rest:
        parts.append(f"{rest} {'is' if rest == 1 else 'are'} undecided: the interval of the difference holds zero.")
    return " ".join(parts)


def _questions(experiment: Experiment, found: list[Strategy]) -> Iterator[Question]:
    """Yield quality under each budget, then cost to each target; both follow from what the reference did."""
    base, report = reference(found), experiment.report
    for unit in (BYTES, SECONDS):
        shown, size, digits = _unit(unit, report.traffic)
        bounds = [(share * base.total(unit), f"{100 * share:g} % of {base.title}'s mean") for share in report.budgets]
        cheapest = min(found, key=lambda strategy: strategy.total(unit))
        if cheapest is not base:
            bounds.append((cheapest.total(unit), f"all that {cheapest.title} used"))
        # A run without the virtual clock has no modelled seconds, and so no budget in them.
        for amount, meaning in sorted(bound for bound in bounds if not isnan(bound[0])):
            within = f"within {amount / size:,.{digits}f} {shown}"
            answer = partial(score_within, unit=unit, budget=amount)
            yield Question(f"accuracy {within}", meaning, answer, larger=True)
    for share in report.targets:
        target = share * base.final
        meaning = f"{100 * share:g} % of {base.title}'s last"
        for unit in (BYTES, SECONDS, VERSIONS):
            shown, size, digits = _unit(unit, report.traffic)
            answer = partial(cost_of, unit=unit, target=target)
            text = f"{shown} to accuracy {target:.3f}"
            yield Question(text, meaning, answer, larger=False, digits=digits, size=size)


def _unit(unit: str, traffic: str) -> tuple[str, float, int]:
    """Return how a unit of cost is named, its size, and the decimals shown."""
    return {
        BYTES: (f"MiB {'up and down' if traffic == 'both' else 'up'}", 2.0**20, 2),
        SECONDS: ("modelled seconds", 1.0, 2),
        VERSIONS: ("global versions", 1.0, 1),
    }[unit]
