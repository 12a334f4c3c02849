"""The training loop that every procedure and every client shares: one resident model, adapters loaded and taken out."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from fedbench.errors import FedbenchError
from fedbench.models.architectures import block_of
from fedbench.models.loading import Loaded, trainable
from fedbench.spec import TrainingSpec
from fedbench.training.batches import collate, stream
from fedbench.training.examples import IGNORED, Examples

Arrays = dict[str, np.ndarray]


@dataclass
class Progress:
    """What a stretch of training did.

    Attributes:
        losses: mean loss a batch.
        examples, tokens, padding: rows and tokens seen; padding tokens among all computed positions.
        seconds: wall time of the steps.
        norms: layer -> mean gradient norm over the batches, before clipping (GSFS eq. 9).
    """

    losses: list[float] = field(default_factory=list)
    examples: int = 0
    tokens: int = 0
    padding: int = 0
    seconds: float = 0.0
    norms: dict[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """Mean loss over the batches (NaN when there were none)."""
        return float(np.mean(self.losses)) if self.losses else math.nan


class Trainer:
    """Trains and evaluates one loaded model; the adapter goes in and out as float32 arrays."""

    def __init__(self, loaded: Loaded, spec: TrainingSpec) -> None:
        self.loaded, self.spec = loaded, spec
        self.parameters = trainable(loaded.model)
        self.optimizer = self._fresh_optimizer()

    def arrays(self) -> Arrays:
        """Return a copy of the adapter."""
        return {name: p.detach().cpu().numpy().copy() for name, p in self.parameters.items()}

    def load(self, arrays: Arrays) -> None:
        """Put an adapter in and forget the optimiser's state.

        Raises:
            FedbenchError: names or shapes do not match the model.
        """
        if arrays.keys() != self.parameters.keys():
            raise FedbenchError("the adapter does not belong to this model", remedy="Delete the run's checkpoint.")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(arrays[name])))
        self.optimizer = self._fresh_optimizer()

    def train(
        self,
        examples: Examples,
        steps: int,
        seed: tuple[int, ...],
        *,
        start: int = 0,
        norms: bool = False,
        on_step: Callable[[int, float], None] | None = None,
    ) -> Progress:
        """Take `steps` optimiser steps from batch number `start` of the stream that `seed` names.

        Raises:
            FedbenchError: the loss is not finite (divergence).
        """
        model, pad = self.loaded.model, int(self.loaded.tokenizer.pad_token_id)
        model.train()
        progress = Progress()
        squares: dict[str, float] = {}
        begun = time.perf_counter()
        # Dropout draws from the global generator: seed it by position, so that a resumed run repeats the same draws.
        torch.manual_seed(int(np.random.SeedSequence([*seed, start]).generate_state(1)[0]))
        for step, rows in enumerate(stream(examples, self.spec.batch_size, seed, start, steps)):
            batch = collate(examples, rows, pad, self.loaded.device)
            with self.autocast():
                loss = batch_loss(model, batch)[0]
            value = float(loss.detach())
            if not math.isfinite(value):
                raise FedbenchError(
                    f"training diverged: loss {value} at step {start + step}",
                    remedy="Lower training.learning_rate for this model (overrides) or set gradient_clip.",
                )
            loss.backward()  # type: ignore[no-untyped-call]
            if norms:
                for name, norm in self._block_norms().items():
                    squares[name] = squares.get(name, 0.0) + norm
            if self.spec.gradient_clip:
                torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.spec.gradient_clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            progress.losses.append(value)
            progress.examples += len(rows)
            real = sum(len(examples.inputs[i]) for i in rows)
            progress.tokens += real
            progress.padding += batch["input_ids"].numel() - real
            if on_step:
                on_step(step + 1, value)
        progress.seconds = time.perf_counter() - begun
        progress.norms = {name: total / max(1, steps) for name, total in squares.items()}
        return progress

    @torch.inference_mode()
    def evaluate(self, examples: Examples) -> tuple[float, float]:
        """Return (mean loss a row, accuracy); accuracy is NaN for instructions."""
        if not len(examples):
            return math.nan, math.nan
        model, pad = self.loaded.model, int(self.loaded.tokenizer.pad_token_id)
        model.eval()
        total, right = 0.0, 0
        for rows in by_length(examples, 2 * self.spec.batch_size):
            batch = collate(examples, rows, pad, self.loaded.device)
            with self.autocast():
                loss, logits = batch_loss(model, batch)
            total += float(loss) * len(rows)
            if batch["labels"].dim() == 1:
                right += int((logits.argmax(-1) == batch["labels"]).sum())
        classes = isinstance(examples.targets[0], int)
        return total / len(examples), right / len(examples) if classes else math.nan

    @torch.inference_mode()
    def classify(self, examples: Examples) -> list[int]:
        """Return the predicted class index of each row."""
        model, pad = self.loaded.model, int(self.loaded.tokenizer.pad_token_id)
        model.eval()
        predicted = [0] * len(examples)
        for rows in by_length(examples, 4 * self.spec.batch_size):
            batch = collate(examples, rows, pad, self.loaded.device)
            batch.pop("labels")
            with self.autocast():
                classes = model(**batch).logits.argmax(-1).tolist()
            for row, value in zip(rows, classes, strict=True):
                predicted[row] = value
        return predicted

    def optimizer_arrays(self) -> Arrays:
        """Return the optimiser's state, for a client that goes on from where it stopped."""
        state = self.optimizer.state
        return {
            f"{key}|{name}": np.asarray(value.detach().cpu().numpy()).copy()
            for name, parameter in self.parameters.items()
            for key, value in state.get(parameter, {}).items()
        }

    def load_optimizer(self, arrays: Arrays) -> None:
        """Put back what `optimizer_arrays` returned."""
        for label, value in arrays.items():
            key, name = label.split("|", 1)
            self.optimizer.state[self.parameters[name]][key] = torch.from_numpy(np.array(value))

    def _block_norms(self) -> dict[str, float]:
        """Return the L2 norm of the gradient of each transformer block; the head is one more."""
        sums: dict[str, float] = {}
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                block = block_of(name)
                sums[block] = sums.get(block, 0.0) + float(parameter.grad.square().sum())
        return {block: math.sqrt(total) for block, total in sums.items()}

    def _fresh_optimizer(self) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            self.parameters.values(), lr=self.spec.learning_rate, weight_decay=self.spec.weight_decay
        )

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context that computes in the declared precision."""
        if self.loaded.compute is torch.bfloat16:
            return torch.autocast(self.loaded.device.type, dtype=torch.bfloat16)
        return nullcontext()


def batch_loss(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (mean cross-entropy, logits) of a batch of classes, or of responses.

    For responses, logits are computed from the first response token of the batch on: a prompt carries no loss, and a
    vocabulary-sized row for each of its tokens is most of the memory of a small language model.
    """
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    labels = batch["labels"]
    if labels.dim() == 1:
        logits = model(**inputs).logits
        return cross_entropy(logits.float(), labels), logits
    first = max(1, int((labels != IGNORED).any(dim=0).nonzero()[0]))
    logits = model(**inputs, logits_to_keep=labels.shape[1] - first + 1).logits[:, :-1]
    wanted = labels[:, first:]
    return cross_entropy(logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=IGNORED), logits


def by_length(examples: Examples, size: int) -> list[list[int]]:
    """Return batches of rows of like length, for evaluation."""
    order = sorted(range(len(examples)), key=lambda i: len(examples.inputs[i]))
    return [order[k : k + size] for k in range(0, len(order), size)]
