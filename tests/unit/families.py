"""Tiny configurations of every model type of the architecture table, and snapshots of them with random weights."""

from pathlib import Path
from typing import Any

from fedbench.models.snapshot import fetch
from fedbench.spec import ModelSpec

# A wide initialisation, so that so small a model has something to learn from.
_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
    "initializer_range": 0.3,
}
_GROUPED = {**_SHAPE, "num_key_value_heads": 1}

CONFIGS: dict[str, dict[str, Any]] = {
    "bert": _SHAPE,
    "albert": {**_SHAPE, "embedding_size": 16},
    "roberta": _SHAPE,
    "deberta": {
        **_SHAPE,
        "relative_attention": True,
        "pos_att_type": "c2p|p2c",
        "position_biased_input": False,
        "type_vocab_size": 0,
        "max_relative_positions": -1,
    },
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "initializer_range": 0.3},
    "t5": {
        "d_model": 32,
        "d_kv": 16,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 2,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.3},
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 16,
        "initializer_range": 0.3,
    },
    "gpt_neox": _SHAPE,
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.3},
    "opt": {  # as OPT-350m: narrower embeddings, projected
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 64,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 16,
        "do_layer_norm_before": False,
        "init_std": 0.3,
    },
    "llama": _GROUPED,
    "phi3": _GROUPED,
    "qwen2": _GROUPED,
    "gemma3_text": {
        **_GROUPED,
        "head_dim": 16,
        "layer_types": ["sliding_attention", "full_attention"],
        "sliding_window": 16,
    },
    "palm": {**_SHAPE, "head_dim": 16},
}


def snapshot(folder: Path, family: str) -> Path:
    """Make a tiny snapshot of a model type below `folder`, once."""
    path = folder / family
    if not path.exists():
        config = {**CONFIGS[family], "model_type": family, "vocab_size": 512}
        fetch(ModelSpec(name="tiny", title=family, weights={"kind": "random", "config": config}), path)
    return path
