"""The model card of an exported run: data, method, scores with intervals, licences, and where it all came from."""

import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from fedbench.evaluation.score import score
from fedbench.spec import HubWeights, LocalWeights, ModelSpec, PypiWeights, RunSpec
from fedbench.using.finished import Finished

BOOTSTRAP = 1000
_METRICS = {
    "accuracy": "accuracy",
    "precision_macro": "precision (macro)",
    "recall_macro": "recall (macro)",
    "f1_macro": "F1 (macro)",
    "f1_weighted": "F1 (weighted)",
    "unparsed": "answers without a label",
}
_UNITS = {"flow": "flows", "text": "distinct texts", "record": "records"}
_LICENCES = {  # the model hub's identifiers
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
    "Llama 2 Community": "llama2",
    "Gemma terms": "gemma",
    "BigScience BLOOM RAIL 1.0": "bigscience-bloom-rail-1.0",
}
_DATA = {
    "gsfs": (
        "IoT-23 (Garcia, Parmisano and Erquiaga 2020, doi:10.5281/zenodo.4743746): labelled Zeek connection logs",
        "CC BY 4.0: name the authors.",
    ),
    "edge-fit": (
        "Databricks Dolly 15k (2023), the records nearest to the Internet of Things, with instructions that "
        "Self-Instruct added",
        "CC BY-SA 3.0: name the authors; what is made from the records is shared under the same terms.",
    ),
}


def write(finished: Finished, folder: Path, kind: str, notes: list[str], usage: str, client: int | None) -> None:
    """Write `folder`/README.md.

    Args:
        kind: what the folder holds, e.g. "PEFT adapter".
        notes: paragraphs on how it was made that a user must know.
        usage: Python that loads it.
        client: whose model it is, of a local-only run.
    """
    run = finished.run
    assert run.model is not None
    whose = "" if client is None else f", client {client}"
    parts = [
        f"# {run.model.title}, {run.label}{whose}: {kind}",
        _lead(run),
        *notes,
        f"## Use\n\n```python\n{usage}\n```",
        f"## Data\n\n{_data(run)}",
        f"## Method\n\n{_method(finished)}",
        f"## Scores\n\n{_scores(finished, client)}",
        f"## Licences\n\n{_licences(run)}",
        f"## Made by\n\n{_origin(finished)}",
    ]
    (folder / "README.md").write_text(_front(run, kind) + "\n\n".join(parts) + "\n", encoding="utf-8")


def _front(run: RunSpec, kind: str) -> str:
    from huggingface_hub import ModelCardData

    assert run.model is not None
    licence = run.model.licence
    known = _LICENCES.get(licence, "other")
    hub = run.model.weights.id if isinstance(run.model.weights, HubWeights) else None
    facts = ModelCardData(
        license=known,
        license_name=licence if known == "other" else None,
        base_model=hub,
        library_name="peft" if "PEFT" in kind else "transformers",
        pipeline_tag="text-classification" if run.study == "gsfs" else "text-generation",
        tags=["fedbench", run.procedure, *(["synthetic-data"] if run.synthetic else [])],
    )
    return f"---\n{facts.to_yaml()}\n---\n\n"


def _lead(run: RunSpec) -> str:
    task = (
        "It classifies network flows, written as text"
        if run.study == "gsfs"
        else "It answers instructions about smart homes and the Internet of Things"
    )
    text = f"A benchmark result of fedbench, not a product. {task}. One run with seed {run.seed}."
    if run.synthetic:
        text += (
            "\n\n**Synthetic data.** Trained and scored on data that fedbench made up: the scores below say nothing "
        )
        text += "about real devices."
    return text


def _data(run: RunSpec) -> str:
    name, _ = _DATA[run.study]
    shape = "connection logs like those of IoT-23" if run.study == "gsfs" else "instruction records like those of Dolly"
    source = f"Synthetic {shape}, made by fedbench." if run.synthetic else f"{name}."
    held = {
        "federated": f"{run.clients} clients hold it, dealt out by `{run.partition}`",
        "local-only": f"{run.clients} clients hold it, dealt out by `{run.partition}`; each trained alone",
    }.get(run.procedure, "All training rows in one place")
    return f"{source} {held}. Digest of the data's specification: `{run.data}`."


def _method(finished: Finished) -> str:
    """Return how the model came about: a sentence, and the run's whole specification."""
    run, usage = finished.run, finished.usage
    said = f"Procedure `{run.procedure}`"
    if run.strategy and run.federation:
        said += (
            f", strategy {run.strategy.title}: {usage.get('rounds')} rounds, "
            f"{run.federation.clients_per_round} of {run.clients} clients a round"
        )
    said += "."
    privacy = usage.get("privacy")
    if privacy:
        said += f" Differential privacy of a client's whole data: `{privacy}`."
    elif run.procedure != "zero-shot":
        said += " No differential privacy: a model can give away what it was trained on."
    kept = {"training", "strategy", "federation", "teacher", "template" if run.study == "gsfs" else "scoring"}
    chosen = run.model_dump(mode="json", include=kept, exclude_none=True)
    return f"{said}\n\n```yaml\n{yaml.safe_dump(chosen, sort_keys=False).strip()}\n```"


def _scores(finished: Finished, client: int | None) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "scores.parquet"
        score(finished.folder, path, BOOTSTRAP)
        table = pl.read_parquet(path)
    own = (
        pl.col("scope") == "central" if client is None else (pl.col("scope") == "client") & (pl.col("client") == client)
    )
    table = table.filter(own & pl.col("metric").is_in(list(_METRICS)) & pl.col("low").is_not_null())
    rows = ["| on the test set | of | value | 95 % interval |", "| --- | --- | --- | --- |"]
    rows += [
        f"| {_METRICS[row['metric']]} | {row['n']} {_UNITS[row['unit']]} | {row['value']:.4f} "
        f"| {row['low']:.4f} to {row['high']:.4f} |"
        for row in table.to_dicts()
    ]
    note = f"Percentile intervals over {BOOTSTRAP} resamples of the test rows: the chance of this test set, not of the "
    note += "seed."
    if finished.run.synthetic:
        note = f"**Synthetic data.** {note}"
    return f"{note}\n\n" + "\n".join(rows)


def _licences(run: RunSpec) -> str:
    assert run.model is not None
    _, terms = _DATA[run.study]
    data = "made by fedbench, Apache-2.0 as its code." if run.synthetic else terms
    return (
        f"- Base weights, {run.model.title}, {_source(run.model)}: {run.model.licence}. These terms hold for weights "
        f"merged into them.\n- Data: {data}\n- Code (fedbench): Apache-2.0."
    )


def _source(model: ModelSpec) -> str:
    match model.weights:
        case HubWeights(id=name, revision=revision):
            return f"hub `{name}`, revision `{revision}`"
        case PypiWeights() as wheel:
            return f"`{wheel.member}` of the wheel {wheel.package} {wheel.version} (sha256 `{wheel.member_sha256}`)"
        case LocalWeights():
            return "a folder on the machine that ran it"
        case _:
            return "**random weights**, for tests and speed: no result"


def _origin(finished: Finished) -> str:
    manifest: dict[str, Any] = finished.manifest
    dirty = " with uncommitted changes" if manifest.get("dirty") else ""
    versions = ", ".join(f"{name} {version}" for name, version in manifest.get("versions", {}).items())
    message = f"\n\nThe run said: {manifest['message']}" if manifest.get("message") else ""
    return (
        f"Run `{finished.folder.resolve().name}`, finished {manifest.get('finished')}, at commit "
        f"`{manifest.get('commit')}`{dirty}. {versions}.{message}"
    )
