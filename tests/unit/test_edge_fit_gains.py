"""Gains and gaps of Edge-FIT and its table of variants, from predictions made by hand."""

import json
from pathlib import Path

import fake_results as fake
import numpy as np
import pandas as pd
import pytest

from fedbench.errors import FedbenchError
from fedbench.evaluation import paired
from fedbench.reporting import contrasts, edge_fit_gains, edge_fit_variants
from fedbench.reporting.results import NOT_RUN, Results

TRUTH = ["Normal", "Anomaly"] * 30


def answered(*predicted, truth=TRUTH, scope="central"):
    """Answers of one or several models."""
    rows = [
        row
        for client, one in enumerate(predicted, start=-1 if scope == "central" else 0)
        for row in fake.predictions(truth, one, scope=scope, client=client)
    ]
    return paired.answers(pd.DataFrame(rows), scope)


def wrong(count):
    return [None if k < count else label for k, label in enumerate(TRUTH)]


def test_a_model_does_not_differ_from_itself():
    same = answered(wrong(20))
    assert paired.differences(same, same, 200, "same")["accuracy"] == (0, 0, 0)


def test_the_difference_is_that_of_the_scores_and_its_interval_is_paired():
    better, worse = answered(wrong(6)), answered(wrong(18))
    value, low, high = paired.differences(better, worse, 2000, "x")["accuracy"]
    assert value == pytest.approx(12 / 60)
    # The two differ on twelve rows and always in one direction: sqrt(p (1 - p) / n) with p = 0.2.
    spread = 1.96 * np.sqrt(0.2 * 0.8 / 60)
    assert (low, high) == (pytest.approx(0.2 - spread, abs=0.025), pytest.approx(0.2 + spread, abs=0.025))
    assert paired.differences(better, worse, 2000, "x")["unparsed"][0] == pytest.approx(-12 / 60)


def test_several_models_count_by_their_mean():
    clients = answered(wrong(0), wrong(30), scope="client")
    value, _, _ = paired.differences(answered(wrong(0)), clients, 100, "x")["accuracy"]
    assert value == pytest.approx(1 - (1 + 0.5) / 2)


def test_other_test_rows_are_an_error():
    other = answered(wrong(0)[:40], truth=TRUTH[:40])
    with pytest.raises(FedbenchError, match="different test rows"):
        paired.differences(answered(wrong(0)), other, 100, "x")


# --- tables ---

VARIANT = {"exact": {"title": "exact mean", "group": "aggregation"}, "gone": {"title": "never ran", "group": "tiers"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    results = tmp_path_factory.mktemp("results")
    model = fake.model("smollm2", "SmolLM2", edge_fit="Llama 2 (7B)")
    clock = [{"step": 1, "round": 1, "client": -1, "phase": "validation", "virtual_seconds": 42.0}]

    def run(label, procedure, errors, seed=0, scope="central", **changes):
        federated = procedure == "federated"
        spec = fake.run_spec(
            label,
            study="edge-fit",
            procedure=procedure,
            seed=seed,
            model=model,
            strategy=fake.strategy("edge-fit") if federated else None,
            **changes,
        )
        rows = [
            row
            for client, count in enumerate(errors, start=0 if scope == "client" else -1)
            for row in fake.predictions(TRUTH, wrong(count), scope=scope, client=client)
        ]
        metrics = json.dumps({"averaging-bias": 0.25})
        cost = fake.usage(
            bytes_up=2**20,
            bytes_down=3 * 2**20,
            bytes_cloud=0,
            replies={"lost": 2, "failed": 0},
            privacy={"epsilon": 7.31, "delta": 1e-3} if changes.get("variant") else None,
        )
        history = [{**row, "metrics": metrics} for row in clock] if federated else None
        fake.write_run(results / "runs", spec, rows, history=history, cost=cost)

    for seed in (0, 1):
        run(f"edge-fit-s{seed}", "federated", [10 + seed], seed)
        run(f"edge-fit-centralised-s{seed}", "centralised", [10], seed)
        run(f"edge-fit-local-only-s{seed}", "local-only", [40, 44], seed, scope="client")
    run("edge-fit-zero-shot-s0", "zero-shot", [55])
    run("edge-fit-exact-s0", "federated", [10], variant="exact")
    fake.score_all(results)
    return results


def experiment():
    instructions = {"source": {"kind": "synthetic"}}
    return fake.experiment(
        gsfs=None, edge_fit={"instructions": instructions, "models": ["smollm2"], "seeds": [0, 1], "variants": VARIANT}
    )


def test_gains_say_what_is_higher_and_what_is_not_shown(folder):
    frame = edge_fit_gains.table(experiment(), Results.read(folder))
    rows = frame.set_index("Edge-FIT")
    assert rows.loc["gain over zero-shot", "Reading"] == rows.loc["gain over local-only", "Reading"] == "higher"
    assert rows.loc["gap to centralised", "Reading"] == "undecided"
    assert rows.loc["gain over zero-shot", "Accuracy, difference"].value == pytest.approx((45 + 44) / 2 / 60)
    assert rows.loc["gap to centralised", "Accuracy, difference"].seeds == 2
    findings = " ".join(frame.attrs["findings"])
    assert "federated F1 lies above local-only" in findings
    assert "federated F1 is not shown to differ from centralised" in findings


def test_variants_stand_beside_the_studys_own_run_of_the_same_seeds(folder):
    frame = edge_fit_variants.table(experiment(), Results.read(folder)).set_index("Variant")
    assert frame.loc["Edge-FIT", "seeds"] == 1, "the variants have seed 0 alone"
    own = frame.loc["exact mean"]
    assert own["F1 less Edge-FIT"].value == pytest.approx(0)
    assert own["Reading"] == "undecided"
    assert (own["Uploaded (MiB)"].value, own["Downloaded (MiB)"].value) == (1, 3)
    assert own["Seconds (modelled)"].value == 42
    assert own["Bias of averaging A and B apart"].value == 0.25
    assert own["Epsilon"] == "7.3 (client level, delta 0.001)"
    assert own["Replies lost"].value == 2
    missing = frame.loc["never ran"]
    assert missing["F1 (macro)"] == missing["Seconds (modelled)"] == missing["Reading"] == NOT_RUN
    assert "no run in this result set" in missing["note"]


def test_a_variant_is_not_counted_as_a_run_of_the_study(folder):
    assert len(Results.read(folder).select("edge-fit", "federated", model="smollm2").runs) == 2


def test_a_difference_is_only_shown_when_the_seeds_agree_as_well():
    """Twelve better rows of sixty in one seed, none in the other: the records would say "higher", the seeds do not."""
    frame = pd.DataFrame({"value": [0.2, 0.0], "low": [0.1, 0.0], "high": [0.3, 0.0]})
    estimate = contrasts._widened(frame)
    assert estimate.value == pytest.approx(0.1)
    assert estimate.low < 0 < estimate.high
    assert contrasts.reading(estimate) == "undecided"
    alone = contrasts._widened(frame[:1])
    assert (alone.low, alone.high) == (pytest.approx(0.1), pytest.approx(0.3))
    assert contrasts.reading(alone) == "higher"
