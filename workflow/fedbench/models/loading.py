"""Load a snapshot as a trainable model: precision, 4-bit quantisation, adapters and padding."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from fedbench.models.architectures import Architecture, architecture
from fedbench.spec import TrainingSpec

Task = Literal["classify", "instruct"]


@dataclass(frozen=True)
class Loaded:
    """A resident base model with one adapter, its tokenizer and the device both are used on."""

    model: Any
    tokenizer: Any
    device: torch.device
    compute: torch.dtype


def device() -> torch.device:
    """Return the accelerator of this machine, or its processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load(snapshot: Path, task: Task, training: TrainingSpec, labels: list[str] | None = None, seed: int = 0) -> Loaded:
    """Load a snapshot with a fresh adapter.

    Args:
        task: classify (a sequence classification head over `labels`) or instruct (causal language model).
        seed: of the adapter and of a new head.

    Returns:
        The model, in training precision: float32, bfloat16, or an NF4 base with double quantisation; adapter and head
        parameters are always float32.
    """
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # a new classification head is meant to be missing from the checkpoint
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(snapshot)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    config = AutoConfig.from_pretrained(snapshot)
    facts = architecture(config.model_type)
    compute = torch.bfloat16 if training.dtype == "bfloat16" else torch.float32
    options: dict[str, Any] = {"dtype": compute}
    if training.quantisation == "nf4":
        options["quantization_config"] = _nf4(compute, facts)
    torch.manual_seed(seed)
    if task == "classify":
        names = labels or ["0", "1"]
        model = AutoModelForSequenceClassification.from_pretrained(
            snapshot, num_labels=len(names), id2label=dict(enumerate(names)), **options
        )
        kind, heads = TaskType.SEQ_CLS, list(facts.heads)
    else:
        model = AutoModelForCausalLM.from_pretrained(snapshot, **options)
        # A slice of the hidden states is not contiguous; torch 2.13 then copies the transposed vocabulary matrix once a
        # row of the batch, which took 40 % of a training step of SmolLM2.
        model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
        kind, heads = TaskType.CAUSAL_LM, []
    model.config.pad_token_id = tokenizer.pad_token_id
    _keep_gradients(model)
    place = device()
    if training.quantisation == "none":
        model.to(place)
    lora = LoraConfig(
        task_type=kind,
        r=training.lora.r,
        lora_alpha=training.lora.alpha,
        lora_dropout=training.lora.dropout,
        target_modules=list(facts.attention),
        modules_to_save=heads or None,
    )
    model.requires_grad_(False)
    adapted = get_peft_model(model, lora)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    adapted.config.use_cache = False
    return Loaded(adapted, tokenizer, place, compute)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters by name, in a fixed order."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _nf4(compute: torch.dtype, facts: Architecture) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
        llm_int8_skip_modules=list(facts.skip_nf4),
    )


def _keep_gradients(model: nn.Module) -> None:
    """Switch off the inference-only NF4 kernel of bitsandbytes 0.50.

    On processors with AVX512-bf16 it repacks the weights at the first evaluation and gives no gradients afterwards, in
    silence: a federated loop that evaluates between rounds would stop learning.
    """
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
