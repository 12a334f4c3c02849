"""A classical model on the raw columns of the flows."""

import time

import polars as pl

from fedbench.evaluation.latency import measure
from fedbench.procedures.result import Inputs, Result, predictions
from fedbench.spec import RunSpec
from fedbench.training.classical import fit, prepare


def execute(run: RunSpec, inputs: Inputs) -> Result:
    """Fit on the training rows, predict the test rows."""
    train = inputs.dataset.filter(pl.col("split") == "train")
    test = inputs.dataset.filter(pl.col("split") == "test")
    begun = time.perf_counter()
    model = fit(str(run.baseline), train.to_pandas(), train["label"].to_list(), run.seed)
    seconds = time.perf_counter() - begun
    rows = test.to_pandas()
    begun = time.perf_counter()
    predicted = [str(value) for value in model.predict(prepare(rows))]
    evaluate = time.perf_counter() - begun
    singles = [rows.iloc[k : k + 1] for k in range(min(len(rows), run.latency_requests))]
    return Result(
        predictions=predictions(test, test["label"].to_list(), predicted),
        usage={
            "seconds": {"train": seconds, "evaluate": evaluate},
            "latency_ms": measure(lambda row: model.predict(prepare(row)), singles, run.latency_requests),
        },
    )
