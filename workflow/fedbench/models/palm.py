"""A PaLM-style decoder for classification (Chowdhery et al. 2022): the stand-in for the GSFS paper's "PALM".

The paper names neither source nor size. The likeliest reading, conceptofmind/PaLM (150M to 2.1B, GPT-NeoX tokenizer),
is in no class of transformers, so the table's row is this architecture in the shape of its 150M model with random
weights. As in PaLM: attention and a SwiGLU feed-forward layer in parallel on one normalised input, a single key and
value head for all queries, rotary positions, no biases. The output embedding, which PaLM ties to the input one,
classifies nothing and is left out.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GenericForSequenceClassification, GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb


class PalmConfig(PreTrainedConfig):  # type: ignore[misc]
    """Shape of a PaLM; the defaults are those of conceptofmind's 150M model."""

    model_type = "palm"

    vocab_size: int = 50304
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    head_dim: int = 128
    intermediate_size: int = 3072
    max_position_embeddings: int = 8192
    initializer_range: float = 0.02
    rope_parameters: dict[str, Any] | None = None
    use_cache: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None


class PalmLayer(GradientCheckpointingLayer):  # type: ignore[misc]
    """x + attention(norm(x)) + feed-forward(norm(x))."""

    def __init__(self, config: PalmConfig) -> None:
        super().__init__()
        width, inner, self.head = config.hidden_size, config.intermediate_size, config.head_dim
        self.norm = nn.LayerNorm(width, bias=False)
        self.q_proj = nn.Linear(width, config.num_attention_heads * self.head, bias=False)
        self.k_proj = nn.Linear(width, self.head, bias=False)
        self.v_proj = nn.Linear(width, self.head, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * self.head, width, bias=False)
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(
        self, hidden: torch.Tensor, mask: torch.Tensor | None, rotation: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        """Return hidden states (batch, length, width) after one layer."""
        batch, length, _ = hidden.shape
        x = self.norm(hidden)
        q, k, v = (
            projection(x).view(batch, length, -1, self.head).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = apply_rotary_pos_emb(q, k, *rotation)
        k, v = k.expand_as(q), v.expand_as(q)
        seen = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None and length > 1)
        attended: torch.Tensor = self.o_proj(seen.transpose(1, 2).reshape(batch, length, -1))
        fed: torch.Tensor = self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))
        return hidden + attended + fed


class PalmPreTrainedModel(PreTrainedModel):  # type: ignore[misc]
    """What transformers asks of a family of models."""

    config_class = PalmConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ("PalmLayer",)
    _supports_sdpa = True


class PalmModel(PalmPreTrainedModel):
    """Embeddings, layers and the last normalisation."""

    def __init__(self, config: PalmConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(PalmLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, bias=False)
        self.rotary = LlamaRotaryEmbedding(config)
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> BaseModelOutputWithPast:
        """Return the last hidden states, (batch, length, width)."""
        hidden = self.embed_tokens(input_ids)
        places = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        mask = create_causal_mask(self.config, hidden, attention_mask, None, places)
        rotation = self.rotary(hidden, places)
        for layer in self.layers:
            hidden = layer(hidden, mask, rotation)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden))


class PalmForSequenceClassification(GenericForSequenceClassification, PalmPreTrainedModel):  # type: ignore[misc]
    """A linear head on the last token that is not padding."""


def register() -> None:
    """Make the Auto classes of transformers know this family; again changes nothing."""
    AutoConfig.register("palm", PalmConfig, exist_ok=True)
    AutoModel.register(PalmConfig, PalmModel, exist_ok=True)
    AutoModelForSequenceClassification.register(PalmConfig, PalmForSequenceClassification, exist_ok=True)
