"""Classical models on the raw flow columns: what a user would pick instead of a language model."""

from typing import Any

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

CATEGORIES = ["proto", "service", "conn_state", "history"]
NUMBERS = [
    "resp_port",
    "orig_port",
    "duration",
    "orig_bytes",
    "resp_bytes",
    "missed_bytes",
    "orig_pkts",
    "orig_ip_bytes",
    "resp_pkts",
    "resp_ip_bytes",
]


def fit(kind: str, rows: pd.DataFrame, labels: list[str], seed: int) -> Any:
    """Fit a classical baseline on the raw columns of `rows`; unset values stay unset (the trees split on them)."""
    encode = make_column_transformer(
        # 255 is the largest number of categories that scikit-learn's histogram trees take; rarer ones share the last.
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, max_categories=250), CATEGORIES),
        ("passthrough", NUMBERS),
    )
    if kind == "majority":
        return make_pipeline(encode, DummyClassifier(strategy="most_frequent")).fit(prepare(rows), labels)
    return make_pipeline(encode, HistGradientBoostingClassifier(random_state=seed)).fit(prepare(rows), labels)


def prepare(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the feature columns with unset categories named and numbers as floats."""
    features = rows[CATEGORIES].astype("string").fillna("unset").astype(object)
    return pd.concat([features, rows[NUMBERS].astype("float64")], axis=1)
