"""The client side of GSFS: watch validation performance and gradient norms, and upload only when something moved."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message

from fedbench.models.architectures import block_of

Mod = Callable[[Message, Context, Callable[[Message, Context], Message]], Message]


@dataclass(frozen=True)
class Sensing:
    """The trigger settings; see `fedbench.federation.strategies.gsfs.Options`."""

    performance: bool = True
    metric: str = "loss"
    performance_factor: float = 1.0
    performance_floor: float = 1e-3
    gradient: bool = True
    beta: float = 0.9
    gradient_lambda: float = 1.0
    warm_up: int = 2
    max_silence: int = 5
    layers_only: bool = False


@dataclass
class Memory:
    """What a client remembers between ticks.

    Attributes:
        ticks: ticks seen so far.
        silence: ticks since the last upload.
        reference: M_i at the last upload (None before the first measurement).
        last: M_i at the last tick.
        change: running mean of |M_i(t) - M_i(t-1)| and the number of changes in it.
        blocks: layer -> [mu, s2], the moving mean and variance of its gradient norm (GSFS eqs. 9-10).
    """

    ticks: int = 0
    silence: int = 0
    reference: float | None = None
    last: float | None = None
    change: float = 0.0
    changes: int = 0
    blocks: dict[str, list[float]] | None = None


def decide(memory: Memory, performance: float, norms: dict[str, float], sensing: Sensing) -> tuple[str, list[str]]:
    """Update `memory` with one tick and say why to upload.

    Args:
        performance: M_i(t) on the client's validation set; NaN when the client has none.
        norms: layer -> gradient norm g_l over the tick.

    Returns:
        ("performance" | "gradient" | "silence" | "", layers whose gradient fired). GSFS eqs. 7-11.
    """
    memory.ticks += 1
    fired = _gradient(memory, norms, sensing) if sensing.gradient else []
    moved = _performance(memory, performance, sensing) if sensing.performance else False
    reason = "performance" if moved else "gradient" if fired else ""
    if not reason and sensing.max_silence and memory.silence + 1 >= sensing.max_silence:
        reason = "silence"
    if reason:
        memory.silence = 0
        memory.reference = performance
    else:
        memory.silence += 1
    return reason, fired


def _performance(memory: Memory, value: float, sensing: Sensing) -> bool:
    if math.isnan(value):
        return False
    if memory.last is not None:
        memory.changes += 1
        memory.change += (abs(value - memory.last) - memory.change) / memory.changes
    memory.last = value
    if math.isinf(sensing.performance_factor) and sensing.performance_factor < 0:
        return True
    if memory.reference is None:
        memory.reference = value
        return False
    threshold = max(sensing.performance_floor, sensing.performance_factor * memory.change)
    return abs(value - memory.reference) > threshold


def _gradient(memory: Memory, norms: dict[str, float], sensing: Sensing) -> list[str]:
    """Test each layer against mu + lambda s, then move mu and s2 towards the new norm (GSFS eqs. 9-11)."""
    blocks = memory.blocks if memory.blocks is not None else {}
    memory.blocks = blocks
    fired = []
    always = math.isinf(sensing.gradient_lambda) and sensing.gradient_lambda < 0
    for layer, norm in norms.items():
        mean, variance = blocks.get(layer, [norm, 0.0])
        threshold = -math.inf if always else mean + sensing.gradient_lambda * math.sqrt(variance)
        if (always or memory.ticks > sensing.warm_up) and norm > threshold:
            fired.append(layer)
        mean = sensing.beta * mean + (1 - sensing.beta) * norm
        variance = sensing.beta * variance + (1 - sensing.beta) * (norm - mean) ** 2
        blocks[layer] = [mean, variance]
    return fired


def sense(sensing: Sensing) -> Mod:
    """Return the Flower client mod that keeps local state between ticks and uploads on a trigger."""

    def mod(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
        state = context.state
        if "arrays" in message.content:  # a new global version: reset the local state to it
            state["reference"] = message.content["arrays"]
            state.pop("optimizer", None)
        else:
            message.content["arrays"] = state["local"]
        message.content["config"]["validate"] = sensing.performance
        reply = call_next(message, context)
        if not reply.has_content():
            return reply
        trained, metrics = reply.content["arrays"], reply.content["metrics"]
        memory = _load(state.get("sensing"))
        norms = {k.removeprefix("norm/"): float(v) for k, v in metrics.items() if k.startswith("norm/")}
        value = metrics.get(f"validation-{sensing.metric}", math.nan)
        reason, fired = decide(memory, float(value), norms, sensing)
        state["sensing"] = ConfigRecord({"memory": json.dumps(memory.__dict__)})
        metrics["uploaded"] = int(bool(reason))
        reply.content["notes"] = ConfigRecord({"trigger": reason, "layers": fired})
        chosen = fired if sensing.layers_only and reason == "gradient" else None
        reply.content["arrays"] = _difference(trained, state["reference"], chosen) if reason else ArrayRecord()
        return reply

    return mod


def _difference(trained: ArrayRecord, reference: ArrayRecord, layers: list[str] | None) -> ArrayRecord:
    """Return Delta_i = w_i - w_ref, of the named layers only if any are given (the paper's partial update)."""
    return ArrayRecord(
        {
            name: Array(np.subtract(array.numpy(), reference[name].numpy()))
            for name, array in trained.items()
            if layers is None or block_of(name) in layers
        }
    )


def _load(record: ConfigRecord | None) -> Memory:
    return Memory(**json.loads(str(record["memory"]))) if record is not None else Memory()
