"""Load a snapshot as a trainable model: precision, 4-bit quantisation, adapters or every weight, and padding."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from fedbench.errors import FedbenchError
from fedbench.models import palm, unavailable
from fedbench.models.architectures import Architecture, architecture
from fedbench.spec import TrainingSpec

Task = Literal["classify", "instruct"]


@dataclass(frozen=True)
class Loaded:
    """A resident base model with what is trained in it, its tokenizer and the device both are used on.

    Attributes:
        compute: precision of the products (autocast); the weights may be wider.
        left: batches are padded on the left.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    compute: torch.dtype
    left: bool = False


def device() -> torch.device:
    """Return the accelerator of this machine, or its processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load(snapshot: Path, task: Task, training: TrainingSpec, labels: list[str] | None = None, seed: int = 0) -> Loaded:
    """Load a snapshot with a fresh adapter and head, or with every weight to be trained.

    Args:
        task: classify (a sequence classification head over `labels`) or instruct (causal language model).
        seed: of the adapter and of a new head.

    Returns:
        The model, in training precision: float32, bfloat16, or an NF4 base with double quantisation. What is trained is
        always float32: an update of AdamW is often smaller than the step between two bfloat16 values, and would be
        lost. So full tuning keeps the whole model in float32, and `dtype: bfloat16` means bfloat16 products over it.

    Raises:
        FedbenchError: the snapshot lacks weights, or the type cannot do what is asked of it.
    """
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # a new classification head is meant to be missing from the checkpoint
    logging.disable_progress_bar()
    unavailable.require(snapshot)
    palm.register()
    # Left unsaid, transformers would ask at the terminal whether a repository's own code may run.
    tokenizer = AutoTokenizer.from_pretrained(snapshot, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    config = AutoConfig.from_pretrained(snapshot, trust_remote_code=False)
    facts = architecture(config.model_type)
    compute = torch.bfloat16 if training.dtype == "bfloat16" else torch.float32
    full = training.adaptation == "full"
    options: dict[str, Any] = {"dtype": torch.float32 if full else compute}
    if training.quantisation == "nf4":
        options["quantization_config"] = nf4(compute, facts)
    torch.manual_seed(seed)
    if task == "classify":
        # A log line that spells a special token is text: T5 counts ends of sequence, others stop at padding.
        tokenizer.split_special_tokens = True
        model = _classifier(snapshot, facts, labels or ["0", "1"], options)
    else:
        model = _language_model(snapshot, config.model_type, facts, options)
    model.config.pad_token_id = tokenizer.pad_token_id
    return prepare(model, tokenizer, task, training, device())


def prepare(model: Any, tokenizer: Any, task: Task, training: TrainingSpec, place: torch.device) -> Loaded:
    """Make a base model, whole or shape alone, ready to be trained: on its device, with what is trained in it."""
    model_type = model.config.model_type
    facts = architecture(model_type)
    compute = torch.bfloat16 if training.dtype == "bfloat16" else torch.float32
    if task == "instruct":
        # A slice of the hidden states is not contiguous; torch 2.13 then copies the transposed vocabulary matrix once a
        # row of the batch, which took 40 % of a training step of SmolLM2.
        model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
    _keep_gradients(model)
    if training.quantisation == "none":
        model.to(place)
    if training.adaptation != "full":
        model = _with_adapter(model, task, facts, training)
    if compute is not torch.float32:
        _round_biases(model, compute)
    if training.gradient_checkpointing:
        _checkpoint_gradients(model, model_type)
    model.config.use_cache = False
    return Loaded(model, tokenizer, place, compute, facts.left and task == "classify")


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters by name, in a fixed order: adapter and head, or under full tuning everything."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _classifier(snapshot: Path, facts: Architecture, labels: list[str], options: dict[str, Any]) -> Any:
    from transformers import AutoModelForSequenceClassification

    model, told = AutoModelForSequenceClassification.from_pretrained(
        snapshot,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        output_loading_info=True,
        use_safetensors=True,
        trust_remote_code=False,
        **options,
    )
    _complete(snapshot, [name for name in told["missing_keys"] if name.split(".")[0] not in facts.heads])
    return model


def _language_model(snapshot: Path, model_type: str, facts: Architecture, options: dict[str, Any]) -> Any:
    from transformers import AutoModelForCausalLM

    if not facts.generative:
        raise FedbenchError(
            f"a {model_type} model writes no text",
            where=snapshot,
            remedy="Name a causal language model under edge_fit.models.",
        )
    model, told = AutoModelForCausalLM.from_pretrained(
        snapshot, output_loading_info=True, use_safetensors=True, trust_remote_code=False, **options
    )
    _complete(snapshot, list(told["missing_keys"]))
    return model


def _complete(snapshot: Path, missing: list[str]) -> None:
    """Refuse a snapshot without some of its weights: transformers would make them up at random, in silence."""
    if missing:
        raise FedbenchError(
            f"{len(missing)} weights of the model are not in the snapshot, {sorted(missing)[0]!r} among them",
            where=snapshot,
            remedy="Point weights in config/models.yaml at a whole checkpoint of this model type.",
        )


def _with_adapter(model: Any, task: Task, facts: Architecture, training: TrainingSpec) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer
    from transformers.pytorch_utils import Conv1D

    lora = LoraConfig(
        task_type=TaskType.SEQ_CLS if task == "classify" else TaskType.CAUSAL_LM,
        r=training.lora.r,
        lora_alpha=training.lora.alpha,
        lora_dropout=training.lora.dropout,
        target_modules=list(facts.attention),
        modules_to_save=list(facts.heads) if task == "classify" else None,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),  # GPT-2, unquantised
    )
    model.requires_grad_(False)
    adapted = get_peft_model(model, lora)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    if training.dtype == "bfloat16":  # PEFT would widen inputs that autocast narrows again: a copy for each matrix
        for module in adapted.modules():
            if isinstance(module, BaseTunerLayer):
                module.cast_input_dtype_enabled = False
    return adapted


class _Rounded(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(self.dtype)


def _round_biases(model: nn.Module, compute: torch.dtype) -> None:
    """Let DeBERTa add its query and value biases in the precision of the products.

    transformers 5.23 makes them float32 whatever the dtype, which widens the queries; the mask value of float32 then
    overflows the bfloat16 scores, and every forward pass raises.
    """
    for module in model.modules():
        if type(module).__name__ == "DisentangledSelfAttention":
            for name in ("q_bias", "v_bias"):
                register_parametrization(module, name, _Rounded(compute), unsafe=True)


def _checkpoint_gradients(model: Any, model_type: str) -> None:
    if not model.supports_gradient_checkpointing:
        raise FedbenchError(
            f"transformers cannot recompute the activations of a {model_type} model",
            remedy="Set training.gradient_checkpointing to false for this model (overrides).",
        )
    model.activation_checkpointing_enable({"use_reentrant": False})


def nf4(compute: torch.dtype, facts: Architecture) -> Any:
    """Return how the base is quantised: NF4 with double quantisation, but for modules that have to stay as they are."""
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
