"""What each transformer architecture needs that its configuration does not say: one entry a model type."""

from dataclasses import dataclass, field
from itertools import pairwise

from fedbench.errors import FedbenchError


@dataclass(frozen=True)
class Architecture:
    """Facts about one `model_type` of transformers.

    Attributes:
        attention: module names that LoRA adapts (the attention projections; PEFT knows no default for several types).
        heads: modules that are trained in full and saved with the adapter when classifying.
        skip_nf4: modules that stay unquantised (multi-layer heads break under NF4 in bitsandbytes 0.50).
        generative: the type has a causal language model.
    """

    attention: tuple[str, ...]
    heads: tuple[str, ...]
    skip_nf4: tuple[str, ...] = field(default=())
    generative: bool = False


ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture(("query", "value"), ("classifier",), ("classifier", "pooler")),
    "llama": Architecture(("q_proj", "k_proj", "v_proj", "o_proj"), ("score",), ("score", "lm_head"), generative=True),
}


def architecture(model_type: str) -> Architecture:
    """Return the facts of a model type.

    Raises:
        FedbenchError: the type has no entry yet.
    """
    if model_type not in ARCHITECTURES:
        raise FedbenchError(
            f"model type {model_type!r} has no entry in the architecture table",
            where="fedbench/models/architectures.py",
            remedy=f"Add one beside {', '.join(sorted(ARCHITECTURES))}.",
        )
    return ARCHITECTURES[model_type]


def block_of(name: str) -> str:
    """Return the transformer block of a parameter: "layer.3" of "...encoder.layer.3.attention...", or "head"."""
    parts = name.split(".")
    for previous, part in pairwise(parts):
        if part.isdigit():
            return f"{previous}.{part}"
    return "head"
