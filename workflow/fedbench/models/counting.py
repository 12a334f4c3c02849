"""Count what `fedbench.models.memory` needs to know of a model, on the model itself, built without weights."""

from collections.abc import Mapping
from typing import Any, cast, get_args

from torch import nn

from fedbench.errors import FedbenchError
from fedbench.models.blocks import Adapted, Block
from fedbench.models.loading import Task
from fedbench.models.memory import Footprint, require_formula
from fedbench.models.shapes import shape
from fedbench.spec import TrainingSpec

TASKS = get_args(Task)

NF4_BLOCK, NESTED_BLOCK, EIGHT_BIT_BLOCK = 64, 256, 256
"""Weights a constant, constants a constant of the second level, optimiser numbers a constant (bitsandbytes 0.50)."""

TABLE = 4 * 256
"""Bytes of a table of the 256 values that a byte stands for; NF4's own has 16. Each matrix has both."""

EIGHT_BIT_LEAST = 4096
"""Parameters with fewer numbers keep float32 moments under 8-bit AdamW."""


def footprint(config: Mapping[str, Any], training: TrainingSpec, task: str = "instruct") -> Footprint:
    """Return the counts of a model of this configuration; nothing is downloaded and no weight is made.

    Raises:
        FedbenchError: there is no formula for the model type, or no such task.
    """
    require_formula(config)
    if task not in TASKS:
        raise FedbenchError(f"no task {task!r}", remedy=f"Use one of: {', '.join(TASKS)}.")
    model = shape(config, cast(Task, task), training)
    told = model.config
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    blocks = next(found for found in lists if len(found) == told.num_hidden_layers)
    weights, constants = frozen(model)
    kinds = getattr(told, "layer_types", None) or ["sliding_attention"] * len(blocks)
    window = getattr(told, "sliding_window", None) or 0
    sizes = [parameter.numel() for parameter in model.parameters() if parameter.requires_grad]
    return Footprint(
        training=training,
        weights=weights,
        constants=constants,
        adapters=4 * sum(sizes),
        optimizer=moments(sizes, training),
        trainable=sum(sizes),
        block=_block(blocks[0], told),
        blocks=len(blocks),
        sliding=kinds.count("sliding_attention") if window else 0,
        window=window,
        vocabulary=told.vocab_size if task == "instruct" else 0,
    )


def frozen(model: nn.Module) -> tuple[int, int]:
    """Return (bytes of what is not trained and of buffers, bytes of quantisation constants)."""
    from bitsandbytes.nn import Linear4bit

    quantised = {id(m.weight): m.in_features * m.out_features for m in model.modules() if isinstance(m, Linear4bit)}
    rest = [p for p in model.parameters() if not p.requires_grad and id(p) not in quantised]
    weights = sum(tensor.numel() * tensor.element_size() for tensor in [*rest, *model.buffers()])
    weights += sum(-(-size // 2) for size in quantised.values())
    constants = 0
    for size in quantised.values():
        first = -(-size // NF4_BLOCK)
        constants += first + 4 * -(-first // NESTED_BLOCK) + 4  # int8, float32, one offset
        constants += TABLE + 4 * 16
    return weights, constants


def moments(sizes: list[int], training: TrainingSpec) -> int:
    """Return the bytes of the optimiser's state of parameters of these sizes; AdamW's step counts lie on the host."""
    if training.optimizer == "adamw":
        return 8 * sum(sizes)
    small = sum(size for size in sizes if size < EIGHT_BIT_LEAST)
    large = [size for size in sizes if size >= EIGHT_BIT_LEAST]
    constants = sum(2 * 4 * -(-size // EIGHT_BIT_BLOCK) for size in large)
    return 8 * small + 2 * sum(large) + constants + (2 * TABLE if large else 0)


def _block(block: nn.Module, told: Any) -> Block:
    matrices = {
        name: module for name, module in block.named_modules() if isinstance(module, nn.Linear) and ".lora_" not in name
    }
    attention = {name: m for name, m in matrices.items() if "self_attn" in name}
    output = next(m for name, m in attention.items() if "o_proj" in name)
    made = sum(m.out_features for m in attention.values()) - output.out_features  # queries, keys and values
    norms = [next(m.parameters()).numel() for m in block.modules() if type(m).__name__.endswith("RMSNorm")]
    sizes = [m.in_features * m.out_features for m in matrices.values()]
    pairs = {name: m for name, m in block.named_modules() if len(getattr(m, "lora_A", ()))}
    return Block(
        width=told.hidden_size,
        inner=max(m.in_features for name, m in matrices.items() if name not in attention),
        heads=told.num_attention_heads,
        queries=output.in_features,
        keys=(made - output.in_features) // 2,
        head_width=output.in_features // told.num_attention_heads,
        norms=norms.count(told.hidden_size),
        head_norms=len(norms) != norms.count(told.hidden_size),
        fused=any("qkv_proj" in name for name in attention),
        readers=sum(m.in_features == told.hidden_size for m in matrices.values() if m is not output),
        matrices=sum(sizes),
        largest=max(sizes),
        adapted=tuple(Adapted(m.in_features, "o_proj" not in name) for name, m in pairs.items()),
    )
