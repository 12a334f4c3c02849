"""JSON schemas of the configuration files, made from the vocabulary: `python -m fedbench.schema workflow/schemas`."""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fedbench.federation import strategies
from fedbench.files import write_text
from fedbench.spec import CaptureSpec, Experiment, LinkedTier, ModelSpec, StrategySpec

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Return file name -> JSON schema (draft 2020-12) of experiments, models, strategies, tiers, captures."""
    named = {
        "experiment.json": _schema(Experiment),
        "models.json": _registry(ModelSpec),
        "strategies.json": _registry(StrategySpec),
        "tiers.json": _registry(LinkedTier),
        "captures.json": _registry(CaptureSpec),
    }
    for kind in strategies.kinds():
        named[f"strategy-{kind}.json"] = _schema(strategies.options(kind))
    return named


def text(schema: dict[str, Any]) -> str:
    """Return a schema as the text of its file."""
    return json.dumps(schema, indent=2, sort_keys=True, default=str) + "\n"


def _schema(model: Any) -> dict[str, Any]:
    return {"$schema": DRAFT, **TypeAdapter(model).json_schema()}


def _registry(model: Any) -> dict[str, Any]:
    """Return the schema of a mapping of names to entries; an entry's name is its key."""
    entry = TypeAdapter(model).json_schema()
    definitions = entry.pop("$defs", {})
    entry["properties"].pop("name", None)
    entry["required"] = [key for key in entry.get("required", []) if key != "name"]
    return {"$schema": DRAFT, "type": "object", "additionalProperties": entry, "$defs": definitions}


if __name__ == "__main__":
    for name, schema in schemas().items():
        write_text(Path(sys.argv[1]) / name, text(schema))
