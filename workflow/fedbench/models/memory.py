"""What one training step of a causal language model takes of a device's memory, predicted from its configuration.

Parameters are counted on the model itself, built without weights on torch's meta device (`fedbench.models.shapes`), so
weights, quantisation constants, adapters, gradients and optimiser state are exact. Activations follow the formula
below: what autograd keeps in transformers 5.23, peft 0.21, bitsandbytes 0.50 and torch 2.13, in the manner of
Korthikanti et al. 2022 ("Reducing activation recomputation in large transformer models", section 4), with the terms of
these layers in place of theirs. Tests hold it against torch's saved-tensors hooks and every tensor alive, on a
processor; what the kernels of a GPU take beside it shows in the measured column of table edge-fit-memory alone.

n = batch x length tokens, h width, f inner width of the feed-forward layer, q and k widths of queries and of keys (or
values), a heads, r rank, T adapted matrices a block, c bytes of a number in compute precision (2 or 4), V vocabulary,
R positions from the first response token of the batch on. A block keeps, in bytes:

    4 h n + 4 n      each RMSNorm: its input in float32 (LlamaRMSNorm widens it) and 1/rms; 4 q n, 4 k n where queries
                     and keys are normalised as well (Gemma 3). The first norm of all keeps nothing under LoRA: nothing
                     before it is trained
    c h n            input of the adapted projections, one tensor for all; with dropout a copy for each and its 1-byte
                     mask
    c r n T          what A made of it, input of B
    c (q + 2 k) n    rotated queries and keys, values: input of the attention kernel. A fused projection (Phi-3) stays
                     whole, c (q + 2 k) n in place of the values, and its kernel's output is copied once more, c q n.
                     Grouped keys and values are spread over all heads, c q n each, where there is a mask
    c q n + 4 a n    output of the kernel (also the input of the output projection) and its log-sum-exp: nothing of
                     length x length (Dao et al. 2022, section 3.1)
    c batch length^2 mask in the dtype of the scores, where rows are padded (batch > 1) or longer than the window: torch
                     turns the boolean one into numbers in every layer
    3 c f n          feed-forward layer: gate, its activation, and what it is multiplied with

With full tuning a norm keeps 4 h n more, what its weight is multiplied with, and each matrix its input: c h n or c f n
(one tensor for all that read a norm; under autocast a copy each). Frozen matrices keep no input. With gradient
checkpointing a block keeps c h n, its input, and all of the above for one block at a time, while the mask stays.

Once: the last norm; rotations; what is trained in bfloat16 (autocast); the logits of R batch positions
(training.loop.batch_loss), c bytes each, to the end of the step. The rest is transient, and the larger of two moments
counts: the loss, with the gradient of the logits in c bytes and, for some positions at a time, their softmax in
float32, beside a wider copy where they are bfloat16 (training.likelihood); or the backward pass through a feed-forward
layer, with gradients c h n, c f n and either 2 c f n more or the largest matrix dequantised to c bytes a number
(bitsandbytes MatMul4Bit.backward).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.models.blocks import Block
from fedbench.spec import TrainingSpec

FORMULA = ("llama", "phi3", "qwen2", "gemma3_text")
"""Model types whose blocks are what the formula describes: RMSNorm, rotary attention, gated feed-forward layer."""

WORKSPACE = 32 * 2**20
"""Bytes that torch sets aside for cuBLAS on Hopper cards; 8 MiB on older ones."""

LOGITS = 2**20
"""Logits that the loss widens to float32 together (training.likelihood): 4 MiB."""

GIB = 2**30


@dataclass(frozen=True)
class Memory:
    """Bytes on the device at the peak of a training step, by what they hold.

    Attributes:
        weights: what is not trained, and buffers; NF4 codes at half a byte.
        constants: of NF4: absmax as int8 a block of 64 weights, float32 a block of 256 of these, offset and tables.
        adapters: what is trained, in float32; under full tuning every weight.
        gradients: of what is trained, in float32.
        optimizer: AdamW, two float32 moments; paged 8-bit AdamW, a byte for each and a float32 constant a block of 256
            (paged memory may move to the host, and torch's own counters leave it out).
        activations: what the formula of this module says, transients included.
        workspace: of cuBLAS.
    """

    weights: int
    constants: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int
    workspace: int = WORKSPACE

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return sum(getattr(self, part.name) for part in fields(self))


@dataclass(frozen=True)
class Footprint:
    """What the memory of a step depends on beside batch and length: the counts of a model, and how it is trained.

    Attributes:
        weights, constants, adapters, optimizer: bytes, as in `Memory`.
        trainable: numbers that are trained.
        blocks: how many there are; `sliding` of them attend to a `window` of positions only.
        vocabulary: V; 0 for a classifier, whose logits are next to nothing.
    """

    training: TrainingSpec
    weights: int
    constants: int
    adapters: int
    optimizer: int
    trainable: int
    block: Block
    blocks: int
    sliding: int
    window: int
    vocabulary: int

    def memory(self, batch: int, length: int, response: int | None = None, padded: bool | None = None) -> Memory:
        """Return the memory of a step on `batch` rows of `length` tokens.

        Args:
            response: positions from the first response token of the batch on; None: all of them, the worst case.
            padded: some row is shorter, so that there is a mask; None: as it goes, from two rows on.
        """
        gradients = 4 * self.trainable
        activations = self.activations(batch, length, response, padded)
        if self.training.optimizer == "adamw":  # takes the roots of all second moments at once, after the activations
            activations = max(activations, gradients)
        return Memory(self.weights, self.constants, self.adapters, gradients, self.optimizer, activations)

    def activations(self, batch: int, length: int, response: int | None = None, padded: bool | None = None) -> int:
        """Return the bytes of activations at their peak: what is kept, and the larger transient."""
        c, block, tokens = self._number, self.block, batch * length
        asked = self._asked(batch, length, response)
        widened = 4 * (2 if c == 2 else 1) * min(asked, LOGITS // max(1, self.vocabulary) or 1)
        loss = self.vocabulary * (c * asked + widened)
        matrix = c * block.largest if self.training.quantisation == "nf4" else 0
        backward = c * block.width * tokens + c * block.inner * tokens + max(matrix, 2 * c * block.inner * tokens)
        if self.training.gradient_checkpointing:
            backward += max(self._block(batch, length, masked) for masked in self._masks(batch, length, padded))
        return self.kept(batch, length, response, padded) + max(loss, backward)

    def kept(self, batch: int, length: int, response: int | None = None, padded: bool | None = None) -> int:
        """Return the bytes that autograd keeps from the forward to the backward pass, the logits among them."""
        c, block, tokens = self._number, self.block, batch * length
        masks = self._masks(batch, length, padded)
        if self.training.gradient_checkpointing:
            bytes_ = self.blocks * c * block.width * tokens + (batch * length * length if True in masks else 0)
        else:
            bytes_ = sum(self._block(batch, length, masked) * count for masked, count in masks.items())
            bytes_ -= 0 if self._full else self._norm * tokens
            bytes_ += 2 * self.trainable if c == 2 else 0
        logits = c * self.vocabulary * self._asked(batch, length, response)
        return bytes_ + self._norm * tokens + 2 * c * block.head_width * length + logits

    def flops(self, batch: int, length: int, response: int | None = None) -> int:
        """Return the floating-point operations that a step needs; what is computed twice counts once.

        A frozen matrix of N numbers takes 2 N a token forward and 2 N backward, a trained one 2 N more; attention takes
        4 q length a token forward and twice that backward, half of it under the causal mask.
        """
        tokens = batch * length
        answered = batch * (length if response is None else min(length, response))
        each = 6 if self._full else 4
        adapters = 0 if self._full else 6 * self.trainable
        matrices = tokens * (each * self.blocks * self.block.matrices + adapters)
        head = each * answered * self.vocabulary * self.block.width
        return matrices + head + 6 * tokens * length * self.blocks * self.block.queries

    def largest_batch(self, budget: float, length: int, share: float = 1.0) -> int:
        """Return the most rows of `length` tokens that fit into `budget` bytes, 0 where not even one does.

        Args:
            share: of the positions, from the first response token on.
        """

        def fits(batch: int) -> bool:
            return self.memory(batch, length, round(share * length)).total <= budget

        low, high = 0, 1
        while fits(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low

    def _asked(self, batch: int, length: int, response: int | None) -> int:
        """Return the positions that have logits: of responses, and the one before the first response token."""
        return batch * ((length if response is None else min(length, response)) + 1)

    @property
    def _number(self) -> int:
        """Bytes of a number in compute precision."""
        return 2 if self.training.dtype == "bfloat16" else 4

    @property
    def _full(self) -> bool:
        return self.training.adaptation == "full"

    @property
    def _norm(self) -> int:
        """Bytes a token that a norm keeps."""
        return (8 if self._full else 4) * self.block.width + 4

    def _masks(self, batch: int, length: int, padded: bool | None) -> dict[bool, int]:
        """Return how many blocks have a mask, and how many have none."""
        if batch > 1 if padded is None else padded:
            return {True: self.blocks}
        sliding = self.sliding if length >= self.window else 0
        return {masked: count for masked, count in ((True, sliding), (False, self.blocks - sliding)) if count}

    def _block(self, batch: int, length: int, masked: bool) -> int:
        """Return the bytes that one block keeps."""
        c, block, training = self._number, self.block, self.training
        token = block.norms * self._norm
        if block.head_norms:
            token += 4 * (block.queries + block.keys) * (block.head_width + 1) // block.head_width
        if self._full:
            token += (c * block.readers if c == 2 else 2 * c) * block.width + c * block.inner
        elif training.lora.dropout:
            token += sum((c + 1) * matrix.inputs for matrix in block.adapted)
        else:
            token += c * block.width if any(matrix.reads_norm for matrix in block.adapted) else 0
            token += c * block.queries if block.fused else 0
        token += c * training.lora.r * len(block.adapted)
        spread = masked and 1 < block.keys // block.head_width < block.heads
        keys = block.queries if spread else block.keys
        values = block.queries + 2 * block.keys if block.fused and not spread else keys
        token += c * (block.queries + keys + values) + c * block.queries + 4 * block.heads
        token += 3 * c * block.inner
        return token * batch * length + (c * batch * length * length if masked else 0)


def predict(
    config: Any,
    training: TrainingSpec,
    task: str,
    batch: int,
    length: int,
    response: int | None = None,
) -> Memory:
    """Return the memory of one training step.

    Args:
        config: a transformers configuration, or a mapping with its keys and model_type.
        task: classify or instruct.
        response: positions from the first response token of the batch on; None: all of them, the worst case.

    Raises:
        FedbenchError: there is no formula for the model type, or no such task.
    """
    from fedbench.models.counting import footprint  # imports torch

    keys = dict(config) if isinstance(config, Mapping) else config.to_dict()
    return footprint(keys, training, task).memory(batch, length, response)


def require_formula(config: Mapping[str, Any]) -> None:
    """Refuse a configuration whose activations the formula does not describe.

    Raises:
        FedbenchError: names the types that it does.
    """
    if config.get("model_type") not in FORMULA:
        raise FedbenchError(
            f"there is no formula for the activations of model type {config.get('model_type')!r}",
            where="fedbench/models/memory.py",
            remedy=f"Name a model of type {', '.join(FORMULA)}.",
        )
