"""Prompt management: which of a flow's texts a run reads (GSFS III-A, module 3)."""

from typing import Any

import numpy as np
import polars as pl

from fedbench.spec import RunSpec

COLUMNS = {"edge": "text", "cloud": "cloud_text"}


def choose(run: RunSpec, tokenizer: Any, data: pl.DataFrame) -> tuple[str, dict[str, Any]]:
    """Return the column of the texts, and what usage.json says of them: template and mean tokens a flow.

    Template `budget` takes the verbose texts where 95 % of them fit the tier's `prompt_tokens`, else the terse ones.
    """
    template = run.template
    if template == "budget":
        fits = np.percentile(_lengths(tokenizer, data["cloud_text"]), 95) <= run.prompt_tokens
        template = "cloud" if fits else "edge"
    column = COLUMNS[template]
    return column, {"template": template, "prompt_tokens": float(_lengths(tokenizer, data[column]).mean())}


def _lengths(tokenizer: Any, texts: pl.Series) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([len(ids) for ids in tokenizer(texts.unique(maintain_order=True).to_list())["input_ids"]])
