"""Edge-FIT: zero-shot, local-only, centralised and federated instruction tuning (Tables III and IV)."""

from typing import Any

import polars as pl

from fedbench.errors import FedbenchError
from fedbench.evaluation.answers import answered, generate
from fedbench.evaluation.latency import measure
from fedbench.federation import strategies
from fedbench.federation.client import Resident
from fedbench.federation.simulation import Outcome
from fedbench.models.loading import load
from fedbench.procedures.common import Stopwatch, federated_usage, held_by, train_alone, usage
from fedbench.procedures.federate import federate
from fedbench.procedures.result import Inputs, Result, predictions
from fedbench.spec import RunSpec
from fedbench.training.checkpoint import Checkpoint
from fedbench.training.correction import Arrays
from fedbench.training.correction import split as split_correction
from fedbench.training.examples import Examples, instructions
from fedbench.training.loop import Trainer


def execute(run: RunSpec, inputs: Inputs) -> Result:
    """Train as the procedure says and answer the closed-label records of the test set."""
    assert inputs.snapshot is not None
    watch, data = Stopwatch(), inputs.dataset
    loaded = load(inputs.snapshot, "instruct", run.training, seed=run.seed)
    trainer = Trainer(loaded, run.training, strategies.frozen(run.strategy))
    everything = instructions(loaded.tokenizer, data.to_dicts(), run.training.max_length)
    split = data["split"].to_list()
    validation = everything.take([k for k, s in enumerate(split) if s == "validation"])
    test = data.filter((pl.col("split") == "test") & pl.col("label").is_not_null())
    if test.is_empty():
        raise FedbenchError("the test set holds no closed-label record to score", where="dolly/dataset.parquet")
    questions = test.to_dicts()
    load_seconds = watch.lap()
    initial, result = trainer.arrays(), Result()
    train_seconds, tokens, padding, evaluate_seconds = 0.0, 0, 0, 0.0

    def answer(scope: str = "central", client: int = -1) -> list[dict[str, Any]]:
        inputs.bar.stage("answers", 1)
        found = answered(trainer, questions, run.scoring, run.max_new_tokens)
        truth, labels = test["label"].to_list(), [label for label, _ in found]
        return predictions(test, truth, labels, scope=scope, client=client, answers=[text for _, text in found])

    central = Checkpoint(inputs.checkpoints.with_name(f"{inputs.checkpoints.name}.safetensors"), run.folder)
    if run.procedure == "local-only":
        held = [everything.take(rows) for rows in held_by(inputs, run.clients, "train")]
        for client, rows in enumerate(held):
            trainer.load(initial)
            own = Checkpoint(
                inputs.checkpoints.with_name(f"{inputs.checkpoints.name}.{client}.safetensors"), run.folder
            )
            alone = train_alone(run, trainer, rows, validation, own, inputs, client=client)
            train_seconds += alone.seconds
            tokens, padding = tokens + alone.tokens, padding + alone.padding
            result.history += alone.history
            result.adapter |= {f"client.{client}.{name}": value for name, value in trainer.arrays().items()}
            watch.lap()
            result.predictions += answer("client", client)
            evaluate_seconds += watch.lap()
    elif run.procedure == "centralised":
        train = everything.take([k for k, s in enumerate(split) if s == "train"])
        alone = train_alone(run, trainer, train, validation, central, inputs)
        train_seconds, tokens, padding, result.history = alone.seconds, alone.tokens, alone.padding, alone.history
    elif run.procedure == "federated":
        known = data.filter((pl.col("split") == "validation") & pl.col("label").is_not_null()).to_dicts()
        outcome = _federated(run, inputs, trainer, everything, validation, known if run.score_rounds else [], central)
        if run.score_clients:
            watch.lap()
            correction = split_correction(outcome.arrays)[1]
            for client, arrays in sorted(outcome.clients.items()):
                trainer.load(arrays | correction)
                result.predictions += answer("client", client)
            evaluate_seconds += watch.lap()
        trainer.load(outcome.arrays)
        train_seconds, tokens, padding = outcome.train_seconds, outcome.tokens, outcome.padding
        result.history, result.message = outcome.history, outcome.note
        result.usage |= federated_usage(outcome)
    if run.procedure != "local-only":
        result.adapter = {} if run.procedure == "zero-shot" else trainer.state()
        watch.lap()
        result.predictions += answer()
        evaluate_seconds += watch.lap()
    result.usage |= {
        **usage(loaded, trainer, tokens, padding, everything.truncated),
        "seconds": {"load": load_seconds, "train": train_seconds, "evaluate": evaluate_seconds},
        "latency_ms": measure(
            lambda row: generate(trainer, [row], run.max_new_tokens), questions, run.latency_requests
        ),
    }
    for path in central.path.parent.glob(f"{run.folder}.*"):
        path.unlink()
    return result


def _federated(
    run: RunSpec,
    inputs: Inputs,
    trainer: Trainer,
    everything: Examples,
    validation: Examples,
    known: list[dict[str, Any]],
    checkpoint: Checkpoint,
) -> Outcome:
    """Run the strategy; every global version is judged by its loss, and by its answers to the `known` records."""
    resident = Resident(
        trainer,
        [everything.take(rows) for rows in held_by(inputs, run.clients, "train")],
        [everything.take(rows) for rows in held_by(inputs, run.clients, "validation")],
        run.seed,
    )

    def evaluate(arrays: Arrays) -> tuple[float, float]:
        trainer.load(arrays)
        loss, accuracy = trainer.evaluate(validation)
        if known:
            found = answered(trainer, known, run.scoring, run.max_new_tokens)
            right = sum(label == row["label"] for (label, _), row in zip(found, known, strict=True))
            accuracy = right / len(known)
        return loss, accuracy

    return federate(run, inputs, resident, evaluate, checkpoint)
