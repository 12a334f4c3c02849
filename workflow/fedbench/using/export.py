"""Write the model of a finished run as folders that transformers and PEFT load, each with a model card."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fedbench.errors import FedbenchError
from fedbench.files import atomic
from fedbench.spec import HubWeights, RunSpec
from fedbench.using import card
from fedbench.using.finished import Finished

if TYPE_CHECKING:
    from fedbench.training.loop import Trainer

Precision = Literal["float32", "bfloat16", "float16"]

_NF4 = (
    "**Quantisation.** The run trained and was scored over this base model in 4 bits (NF4, double quantisation). "
    "Over an unquantised base its answers can differ from those that were scored. {here}"
)
_WHY_NO_ADAPTER = {
    "full": "the run trained every weight, so there is no adapter",
    "correction": "the run keeps a correction beside its factors (aggregation {aggregation}), which an adapter cannot "
    "hold",
}


def export(
    finished: Finished,
    out: Path,
    *,
    client: int | None = None,
    models: Path | None = None,
    precision: Precision = "float32",
) -> tuple[list[Path], str | None]:
    """Write `out`/merged and `out`/adapter; returns the folders written and why one was left out, if so.

    The base model is loaded unquantised in float32, whatever the run trained over; `precision` is that of the merged
    weights as they are saved.

    Raises:
        FedbenchError: nothing was trained, or `out` is in use. Nothing is left behind then.
    """
    run = finished.run
    if run.procedure == "zero-shot":
        raise FedbenchError(
            "a zero-shot run trains nothing: its model is the base model",
            where=finished.folder,
            remedy=f"Use {finished.snapshot(models)}.",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FedbenchError("is there already", where=out, remedy="Delete it, or name another folder with --out.")
    trainer = finished.trainer(client, models, quantisation="none", dtype="float32")
    without = _without_adapter(run, trainer)
    with atomic(out) as made:
        made.mkdir()
        written = []
        if without is None:
            _adapter(finished, trainer, made / "adapter", client)
            written.append(out / "adapter")
        _merged(finished, trainer, made / "merged", client, precision)
        written.insert(0, out / "merged")
    return written, without


def _without_adapter(run: RunSpec, trainer: "Trainer") -> str | None:
    """Return why this model cannot be written as an adapter."""
    if run.training.adaptation == "full":
        return _WHY_NO_ADAPTER["full"]
    if trainer.correction.arrays:
        assert run.strategy is not None
        return _WHY_NO_ADAPTER["correction"].format(aggregation=run.strategy.options.get("aggregation"))
    return None


def _adapter(finished: Finished, trainer: "Trainer", folder: Path, client: int | None) -> None:
    run, model = finished.run, trainer.loaded.model
    assert run.model is not None
    config = model.peft_config["default"]
    hub = run.model.weights if isinstance(run.model.weights, HubWeights) else None
    # PEFT would write the path on this machine, which no other has.
    config.base_model_name_or_path, config.revision = (hub.id, hub.revision) if hub else (run.model.name, None)
    # "auto" asks the hub whether the vocabulary has grown; ours never does.
    model.save_pretrained(folder, save_embedding_layers=False)
    trainer.loaded.tokenizer.save_pretrained(folder)
    base = hub.id if hub else "path/to/base"
    kind = "AutoModelForSequenceClassification" if run.study == "gsfs" else "AutoModelForCausalLM"
    more = f", num_labels={len(finished.labels())}" if run.study == "gsfs" else ""
    usage = f"from peft import PeftModel\nfrom transformers import {kind}\n\n"
    usage += f'base = {kind}.from_pretrained("{base}"{more})\n'
    usage += 'model = PeftModel.from_pretrained(base, "path/to/this/folder")'
    here = "To get the scored model itself, load the base in NF4 with double quantisation and bfloat16 compute."
    notes = [_NF4.format(here=here)] if run.training.quantisation == "nf4" else []
    if run.study == "gsfs":
        notes.append(f"**Classes**, in the order of the outputs: {', '.join(finished.labels())}.")
    card.write(finished, folder, "PEFT adapter", notes + _notes(finished, trainer), usage, client)


def _merged(finished: Finished, trainer: "Trainer", folder: Path, client: int | None, precision: Precision) -> None:
    import torch

    run, model = finished.run, trainer.loaded.model
    if run.training.adaptation == "lora":
        _merge_correction(trainer)
        model = model.merge_and_unload()
    model.config.use_cache = True
    model.to(getattr(torch, precision)).save_pretrained(folder)
    trainer.loaded.tokenizer.save_pretrained(folder)
    here = f"Here the adapter is merged into the unquantised base, in float32, and saved as {precision}."
    notes = (
        [_NF4.format(here=here)]
        if run.training.quantisation == "nf4"
        else [f"Merged in float32, saved as {precision}."]
    )
    task = "text-classification" if run.study == "gsfs" else "text-generation"
    usage = f'from transformers import pipeline\n\nmodel = pipeline("{task}", "path/to/this/folder")'
    card.write(finished, folder, "merged model", notes + _notes(finished, trainer), usage, client)


def _merge_correction(trainer: "Trainer") -> None:
    """Add the correction to the base weights instead of to the outputs of their layers."""
    import torch

    from fedbench.training.correction import MARK

    arrays = trainer.correction.arrays
    trainer.correction.put({})
    with torch.no_grad():
        for module in sorted({name.split(MARK)[0] for name in arrays}):
            layer: Any = trainer.loaded.model.get_submodule(module)
            part = {
                name.split(MARK)[1]: torch.from_numpy(arrays[name]) for name in arrays if name.split(MARK)[0] == module
            }
            delta = part["matrix"] if "matrix" in part else part["up"] @ part["down"]
            weight = layer.get_base_layer().weight
            if layer.fan_in_fan_out:  # GPT-2 keeps its weights transposed
                delta = delta.T
            weight.add_(delta.to(weight), alpha=float(layer.scaling["default"]))


def _notes(finished: Finished, trainer: "Trainer") -> list[str]:
    """Return how to put a question so that the model reads what it was trained on."""
    if finished.run.study == "edge-fit":
        return [
            "Prompts are those of the chat template of this folder's tokenizer where it has one, else "
            "`[INST] instruction [/INST]`; a context stands below the instruction after an empty line."
        ]
    notes = [
        f"Flows are written by `fedbench.flows.render.text`, template `{finished.template()}`, and tokenised with "
        "`split_special_tokens=True`: `fedbench classify` does both for a Zeek log."
    ]
    if trainer.loaded.model.config.model_type == "palm":
        notes.append("The architecture is fedbench's own: call `fedbench.models.palm.register()` before loading it.")
    return notes
