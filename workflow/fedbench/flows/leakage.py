"""How far any accuracy can be believed: what a model scores that only knows texts by heart, by split protocol."""

from pathlib import Path

import numpy as np
import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors

from fedbench.files import atomic
from fedbench.flows.dataset import rendered
from fedbench.flows.split import assign_splits, cut_copies
from fedbench.spec import FlowsSpec

_NEAREST_MOST = 8_000  # distinct training texts searched for the nearest one; more are thinned out evenly


def leakage(sample: Path, spec: FlowsSpec, seed: int, out: Path) -> pl.DataFrame:
    """Write, and return, one row a split protocol; `scenario` only where the specification names test scenarios.

    Columns: protocol; train_rows, test_rows, test_texts; seen_rows and seen_texts (share of test rows and of distinct
    test texts whose text is in train); memoriser (accuracy of the most frequent training label of the same text, else
    of all training rows); nearest (accuracy of the label of the nearest training text, by cosine over TF-IDF words);
    majority (accuracy of the most frequent training label).
    """
    rows = rendered(sample, spec)
    protocols = ["random", "grouped", "temporal", *(["scenario"] if spec.split.test_scenarios else [])]
    table = pl.DataFrame([_row(rows, spec, protocol, seed) for protocol in protocols])
    with atomic(out) as partial:
        table.write_csv(partial, float_precision=6)
    return table


def _row(rows: pl.DataFrame, spec: FlowsSpec, protocol: str, seed: int) -> dict[str, float | int | str]:
    if protocol == "grouped":
        rows = rows.filter(pl.Series(cut_copies(rows["text_id"].to_numpy(), spec.split.max_copies, seed)))
    split = assign_splits(rows, spec.split.model_copy(update={"protocol": protocol}), seed)
    train, test = rows.filter(split == "train"), rows.filter(split == "test")
    majority = _most_frequent(train.select(pl.lit(0).alias("text_id"), "label"))["known"].item()
    known = _most_frequent(train)
    answers = test.join(known, on="text_id", how="left", maintain_order="left")
    seen = answers["known"].is_not_null()
    nearest = test.join(_nearest(train, test, known), on="text_id", how="left", maintain_order="left")
    return {
        "protocol": protocol,
        "train_rows": train.height,
        "test_rows": test.height,
        "test_texts": test["text_id"].n_unique(),
        "seen_rows": float(seen.mean()),  # type: ignore[arg-type]
        "seen_texts": answers.filter(seen)["text_id"].n_unique() / test["text_id"].n_unique(),
        "memoriser": _share(answers["known"].fill_null(majority) == test["label"]),
        "nearest": _share(nearest["nearest"] == test["label"]),
        "majority": _share(test["label"] == majority),
    }


def _share(right: pl.Series) -> float:
    return int(right.sum()) / len(right)


def _most_frequent(train: pl.DataFrame) -> pl.DataFrame:
    """The most frequent label (`known`; ties: first by name) of each text_id."""
    counts = train.group_by("text_id", "label").len().sort(["text_id", "len", "label"], descending=[False, True, False])
    return counts.group_by("text_id", maintain_order=True).agg(known=pl.col("label").first())


def _nearest(train: pl.DataFrame, test: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The label (`nearest`) of the training text nearest to each distinct test text."""
    texts = (
        train.select("text_id", "text")
        .unique(subset="text_id", maintain_order=True)
        .join(known, on="text_id", how="left", maintain_order="left")
    )
    texts = texts.gather_every(max(1, -(-texts.height // _NEAREST_MOST)))
    asked = test.select("text_id", "text").unique(subset="text_id", maintain_order=True)
    words = TfidfVectorizer(lowercase=False, token_pattern=r"\S+", ngram_range=(1, 2))
    index = NearestNeighbors(n_neighbors=1, metric="cosine", algorithm="brute").fit(words.fit_transform(texts["text"]))
    at = index.kneighbors(words.transform(asked["text"]), return_distance=False)[:, 0]
    return asked.select("text_id", nearest=texts["known"].gather(at.astype(np.uint32)))
