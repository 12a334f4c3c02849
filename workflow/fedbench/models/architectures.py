"""What each transformer architecture needs that its configuration does not say: one entry a model type.

Seen with transformers 5.23, peft 0.21 and bitsandbytes 0.50; `tests/unit/test_families.py` holds every entry to it.
"""

from dataclasses import dataclass
from itertools import pairwise

from fedbench.errors import FedbenchError


@dataclass(frozen=True)
class Architecture:
    """Facts about one `model_type` of transformers.

    Attributes:
        attention: module names that LoRA adapts: the attention projections (PEFT knows no default for several types).
        heads: new modules of a classifier, trained in full and saved with the adapter. PEFT freezes those it does not
            know, in silence, and leaves them out of the adapter.
        skip_nf4: modules that stay unquantised: heads (multi-layer ones break in bitsandbytes) and output embeddings.
        generative: the type has a causal language model.
        left: classifies from the last position whatever it holds, so that padding goes to the left.
        frame: how the tokenizers of the type frame a text; of use where one is made (`random` weights).
    """

    attention: tuple[str, ...]
    heads: tuple[str, ...]
    skip_nf4: tuple[str, ...]
    generative: bool = False
    left: bool = False
    frame: str = "$A"


QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")
OPT_QKVO = ("q_proj", "k_proj", "v_proj", "out_proj")
CLS_SEP = "<s> $A </s>"

ARCHITECTURES: dict[str, Architecture] = {
    # Encoders: query and value, the choice of the LoRA paper. Their pretrained pooler stays as it is, and unquantised.
    "bert": Architecture(("query", "value"), ("classifier",), ("classifier", ".*pooler"), frame=CLS_SEP),
    # One block of weights, used by every layer.
    "albert": Architecture(("query", "value"), ("classifier",), ("classifier", ".*pooler"), frame=CLS_SEP),
    "roberta": Architecture(("query", "value"), ("classifier",), ("classifier",), frame=CLS_SEP),
    # Query, key and value in one projection. No checkpoint has a pooler: frozen, it would stay as random as it begins.
    "deberta": Architecture(("in_proj",), ("pooler", "classifier"), ("pooler", "classifier"), frame=CLS_SEP),
    # Its query, key and value are three-dimensional parameters, which LoRA does not reach: the feed-forward layers are.
    "xlnet": Architecture(
        ("layer_1", "layer_2"),
        ("sequence_summary", "logits_proj"),
        ("sequence_summary", "logits_proj"),
        left=True,
        frame="$A </s> <s>",
    ),
    # Classifies from the end-of-sequence token, of which every row must have equally many. `wo` computes in the dtype
    # of its weights, which NF4 would make bytes.
    "t5": Architecture(
        ("q", "k", "v", "o"), ("classification_head",), ("classification_head", "wo", "lm_head"), frame="$A </s>"
    ),
    # Decoders classify from the last token that is not padding, so a pad token must be set.
    "gpt2": Architecture(("c_attn", "attn.c_proj"), ("score",), ("score", "lm_head"), generative=True),
    "gpt_neo": Architecture(OPT_QKVO, ("score",), ("score", "lm_head"), generative=True),
    "gpt_neox": Architecture(
        ("query_key_value", "attention.dense"), ("score",), ("score", "embed_out"), generative=True
    ),
    "bloom": Architecture(
        ("query_key_value", "self_attention.dense"), ("score",), ("score", "lm_head"), generative=True
    ),
    "opt": Architecture(OPT_QKVO, ("score",), ("score", "lm_head"), generative=True),
    "llama": Architecture(QKVO, ("score",), ("score", "lm_head"), generative=True),
    "phi3": Architecture(("qkv_proj", "o_proj"), ("score",), ("score", "lm_head"), generative=True),
    "qwen2": Architecture(QKVO, ("score",), ("score", "lm_head"), generative=True),
    "gemma3_text": Architecture(QKVO, ("score",), ("score", "lm_head"), generative=True),
    # fedbench.models.palm: classifies only.
    "palm": Architecture(QKVO, ("score",), ("score",)),
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
    """Return the transformer block of a parameter: "layer.3" of "...encoder.layer.3.attention...".

    T5 numbers the blocks of encoder and decoder alike: "encoder.block.0", "decoder.block.0". What comes before the
    first block is "embeddings", what comes after the last one "head".
    """
    parts = name.split(".")
    for place, (previous, part) in enumerate(pairwise(parts)):
        if part.isdigit():
            stack = f"{parts[place - 1]}." if previous == "block" and place else ""
            return f"{stack}{previous}.{part}"
    embeds = any("emb" in part or part in ("wte", "wpe", "shared") for part in parts)
    return "embeddings" if embeds else "head"
