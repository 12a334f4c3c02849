"""GSFS: fine-tune a transformer to classify flows, centrally or federated (Tables II and III)."""

from dataclasses import replace

from fedbench.evaluation.latency import measure
from fedbench.federation import strategies
from fedbench.federation.client import Resident
from fedbench.models.loading import load
from fedbench.procedures import distillation
from fedbench.procedures.common import Stopwatch, federated_usage, held_by, train_alone, usage
from fedbench.procedures.federate import federate
from fedbench.procedures.prompts import choose
from fedbench.procedures.result import Inputs, Result, predictions
from fedbench.spec import RunSpec
from fedbench.training.checkpoint import Checkpoint
from fedbench.training.correction import Arrays
from fedbench.training.examples import Examples, flows
from fedbench.training.loop import Trainer


def execute(run: RunSpec, inputs: Inputs) -> Result:
    """Train on flows and answer the test set with the central model and, federated, with every client's own."""
    assert inputs.snapshot is not None
    watch, data = Stopwatch(), inputs.dataset
    names = sorted(data["label"].unique().to_list())
    loaded = load(inputs.snapshot, "classify", run.training, names, run.seed)
    trainer = Trainer(loaded, run.training, strategies.frozen(run.strategy))
    classes = [names.index(label) for label in data["label"].to_list()]
    column, shown = choose(run, loaded.tokenizer, data)
    everything = flows(loaded.tokenizer, data[column].to_list(), classes, run.training.max_length)
    split = data["split"].to_list()
    part = {name: everything.take([k for k, s in enumerate(split) if s == name]) for name in set(split)}
    if run.training.class_weights == "balanced":
        # By the training rows of all clients together: no client's own skew decides what a class is worth.
        trainer.balance([k for k, s in zip(classes, split, strict=True) if s == "train"], len(names))
    test = data.filter(data["split"] == "test")
    truth = test["label"].to_list()
    load_seconds = watch.lap()
    checkpoint = Checkpoint(inputs.checkpoints.with_name(f"{inputs.checkpoints.name}.safetensors"), run.folder)

    def answer(scope: str, client: int) -> list[dict[str, object]]:
        predicted = [names[k] for k in trainer.classify(part["test"])]
        return predictions(test, truth, predicted, scope=scope, client=client)

    result = Result()
    if run.procedure == "federated":
        learnt = everything
        if run.strategy and run.strategy.distillation:
            trainer.distillation = run.strategy.distillation
            learnt = replace(everything, taught=distillation.teach(run, inputs, data[column].to_list(), names))
        resident = Resident(
            trainer,
            [learnt.take(rows) for rows in held_by(inputs, run.clients, "train")],
            [everything.take(rows) for rows in held_by(inputs, run.clients, "validation")],
            run.seed,
        )

        def evaluate(arrays: Arrays) -> tuple[float, float]:
            trainer.load(arrays)
            return trainer.evaluate(part["validation"])

        outcome = federate(run, inputs, resident, evaluate, checkpoint)
        train_seconds, tokens, padding = outcome.train_seconds, outcome.tokens, outcome.padding
        watch.lap()
        for client, arrays in sorted(outcome.clients.items()):
            trainer.load(arrays)
            result.predictions += answer("client", client)
        trainer.load(outcome.arrays)
        result.history, result.message = outcome.history, outcome.note
        result.usage |= federated_usage(outcome)
    else:
        alone = train_alone(run, trainer, part["train"], part["validation"], checkpoint, inputs)
        train_seconds, tokens, padding = alone.seconds, alone.tokens, alone.padding
        result.history = alone.history
        watch.lap()
    result.predictions += answer("central", -1)
    evaluate_seconds = watch.lap()
    result.adapter = trainer.state()
    result.usage |= {
        **usage(loaded, trainer, tokens, padding, everything.truncated),
        **shown,
        "labels": names,
        "seconds": {"load": load_seconds, "train": train_seconds, "evaluate": evaluate_seconds},
        "latency_ms": measure(lambda text: _classify(trainer, text), test[column].to_list(), run.latency_requests),
    }
    checkpoint.clear()
    return result


def _classify(trainer: Trainer, text: str) -> int:
    one: Examples = flows(trainer.loaded.tokenizer, [text], [0], trainer.spec.max_length)
    return trainer.classify(one)[0]
