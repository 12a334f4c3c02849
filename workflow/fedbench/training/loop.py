"""The training loop that every procedure and every client shares: one resident model, adapters loaded and taken out."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy, kl_div

from fedbench.errors import FedbenchError
from fedbench.models.architectures import block_of
from fedbench.models.loading import Loaded, trainable
from fedbench.spec import DistillationSpec, TrainingSpec
from fedbench.training import optimizer
from fedbench.training.batches import collate, groups, shares
from fedbench.training.correction import Arrays, Correction, split
from fedbench.training.examples import IGNORED, Examples
from fedbench.training.likelihood import next_token_loss


@dataclass
class Progress:
    """What a stretch of training did.

    Attributes:
        losses: mean loss a batch, without the proximal term.
        examples, tokens, padding: rows and tokens seen; padding tokens among all computed positions.
        seconds: wall time of the steps.
        norms: layer -> mean gradient norm over the optimiser steps, before clipping (GSFS eq. 9).
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
    """Trains and evaluates one loaded model; what is trained goes in and out as float32 arrays.

    These are the adapter and head, or under full tuning every weight; both are called the adapter here.
    """

    def __init__(self, loaded: Loaded, spec: TrainingSpec, frozen: str = "") -> None:
        """Take a loaded model; adapter parameters whose names hold `frozen` stay as they are."""
        self.loaded, self.spec = loaded, spec
        everything = trainable(loaded.model)
        self.fixed = {name: p.requires_grad_(False) for name, p in everything.items() if frozen and frozen in name}
        self.parameters = trainable(loaded.model)
        self.correction = Correction(loaded.model, loaded.device, loaded.compute)
        self.optimizer = optimizer.fresh(self.spec, self.parameters)
        self.class_weights: torch.Tensor | None = None
        self.distillation: DistillationSpec | None = None
        self._received: Arrays | None = None

    def balance(self, classes: Sequence[int], count: int) -> None:
        """Weigh each of `count` classes by n / (k n_c) of the training rows `classes`, k of which classes are present.

        A class without a row weighs 1. Applies to the losses of training and of evaluation.
        """
        rows = np.bincount(classes, minlength=count)
        weights = np.ones(count, dtype=np.float32)
        weights[rows > 0] = len(classes) / (np.count_nonzero(rows) * rows[rows > 0])
        self.class_weights = torch.from_numpy(weights).to(self.loaded.device)

    def arrays(self) -> Arrays:
        """Return a copy of the adapter."""
        return {name: p.detach().cpu().numpy().copy() for name, p in self.parameters.items()}

    def state(self) -> Arrays:
        """Return all that makes the model differ from its base: the adapter, frozen parts and correction included."""
        fixed = {name: p.detach().cpu().numpy().copy() for name, p in self.fixed.items()}
        return self.arrays() | fixed | self.correction.arrays

    def load(self, arrays: Arrays) -> None:
        """Put an adapter and its correction in, anchor the proximal term to it, and forget the optimiser's state.

        Raises:
            FedbenchError: names or shapes do not match the model.
        """
        arrays, correction = split(arrays)
        known = self.parameters | {name: p for name, p in self.fixed.items() if name in arrays}
        if arrays.keys() != known.keys():
            raise FedbenchError("the adapter does not belong to this model", remedy="Delete the run's checkpoint.")
        self.correction.put(correction)
        with torch.no_grad():
            for name, parameter in known.items():
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(arrays[name])))
        self.optimizer = optimizer.fresh(self.spec, self.parameters)
        self.anchor(arrays)

    def scale_rate(self, factor: float) -> None:
        """Train at `factor` times the declared learning rate until the next `load`."""
        for group in self.optimizer.param_groups:
            group["lr"] = factor * self.spec.learning_rate

    def anchor(self, arrays: Arrays | None = None) -> None:
        """Set what the proximal term pulls towards: `arrays` (kept, not copied), or the adapter as it is now."""
        self._received = self.arrays() if arrays is None else arrays

    def train(
        self,
        examples: Examples,
        steps: int,
        seed: tuple[int, ...],
        *,
        start: int = 0,
        norms: bool = False,
        proximal: float = 0.0,
        on_step: Callable[[int, float], None] | None = None,
    ) -> Progress:
        """Train on `steps` mini-batches from batch number `start` of the stream that `seed` names.

        An optimiser step takes `accumulate` batches together, fewer at the end of an epoch and of the call. The loss of
        each counts by its rows (by their class weights, by its response tokens), so that the step is that of one batch.

        Args:
            norms: measure the gradient norm of each block.
            proximal: mu of FedProx: adds mu/2 |w - w_received|^2, w_received as of the last `load` or `anchor`.
            on_step: called with (batches so far, loss) after each batch.

        Raises:
            FedbenchError: the loss is not finite (divergence), or class weights are wanted where there are none.
        """
        self._check_weights(examples)
        model, pad = self.loaded.model, int(self.loaded.tokenizer.pad_token_id)
        size, together = self.spec.batch_size, self.spec.accumulate
        received = self._anchors() if proximal else {}
        model.train()
        progress = Progress()
        squares: dict[str, float] = {}
        begun = time.perf_counter()
        # Dropout draws from the global generator: seed it by position, so that a resumed run repeats the same draws.
        torch.manual_seed(int(np.random.SeedSequence([*seed, start]).generate_state(1)[0]))
        updates = 0
        for group in groups(examples, size, seed, start, steps, together):
            for rows, share in zip(group, shares(examples, group, self.class_weights), strict=True):
                batch = collate(examples, rows, pad, self.loaded.device, left=self.loaded.left)
                taught = batch.pop("taught", None)
                with self.autocast():
                    loss, logits = batch_loss(model, batch, self.class_weights)
                if taught is not None and self.distillation is not None:
                    loss = distilled(loss, logits, taught, self.distillation)
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise FedbenchError(
                        f"training diverged: loss {value} at step {start + len(progress.losses)}",
                        remedy="Lower training.learning_rate for this model (overrides) or set gradient_clip.",
                    )
                (loss if share == 1.0 else loss * share).backward()  # type: ignore[no-untyped-call]
                del loss, logits, taught  # or they would stand beside those of the next batch
                progress.losses.append(value)
                progress.examples += len(rows)
                real = sum(len(examples.inputs[i]) for i in rows)
                progress.tokens += real
                progress.padding += batch["input_ids"].numel() - real
                if on_step:
                    on_step(len(progress.losses), value)
            self._pull(received, proximal)
            if norms:
                for name, norm in self._block_norms().items():
                    squares[name] = squares.get(name, 0.0) + norm
            if self.spec.gradient_clip:
                torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.spec.gradient_clip)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            updates += 1
        progress.seconds = time.perf_counter() - begun
        progress.norms = {name: total / max(1, updates) for name, total in squares.items()}
        return progress

    @torch.inference_mode()
    def evaluate(self, examples: Examples) -> tuple[float, float]:
        """Return (mean loss a row, accuracy): rows count by their class weights where training has them.

        Accuracy is that of plain rows, and NaN for instructions.
        """
        if not len(examples):
            return math.nan, math.nan
        model, pad = self.loaded.model, int(self.loaded.tokenizer.pad_token_id)
        model.eval()
        total, mass, right = 0.0, 0.0, 0
        for rows in by_length(examples, 2 * self.spec.batch_size):
            batch = collate(examples, rows, pad, self.loaded.device, left=self.loaded.left)
            with self.autocast():
                loss, logits = batch_loss(model, batch, self.class_weights)
            weight = len(rows) if self.class_weights is None else float(self.class_weights[batch["labels"]].sum())
            total, mass = total + float(loss) * weight, mass + weight
            if batch["labels"].dim() == 1:
                right += int((logits.argmax(-1) == batch["labels"]).sum())
        classes = isinstance(examples.targets[0], int)
        return total / mass, right / len(examples) if classes else math.nan

    def classify(self, examples: Examples) -> list[int]:
        """Return the predicted class index of each row."""
        return [int(k) for k in self.logits(examples).argmax(-1)]

    @torch.inference_mode()
    def logits(self, examples: Examples) -> np.ndarray:
        """Return the logits of each row, (rows, classes) float32."""
        model, pad = self.loaded.model, int(self.loaded.tokenizer.pad_token_id)
        model.eval()
        found: list[np.ndarray] = [np.empty(0)] * len(examples)
        for rows in by_length(examples, 4 * self.spec.batch_size):
            batch = collate(examples, rows, pad, self.loaded.device, left=self.loaded.left)
            batch.pop("labels")
            with self.autocast():
                values = model(**batch).logits.float().cpu().numpy()
            for row, value in zip(rows, values, strict=True):
                found[row] = value
        return np.stack(found) if found else np.empty((0, 0), dtype=np.float32)

    def optimizer_arrays(self) -> Arrays:
        """Return the optimiser's state, for a client that goes on from where it stopped."""
        return optimizer.to_arrays(self.optimizer, self.parameters)

    def load_optimizer(self, arrays: Arrays) -> None:
        """Put back what `optimizer_arrays` returned."""
        optimizer.put(arrays, self.optimizer, self.parameters)

    def _anchors(self) -> dict[str, torch.Tensor]:
        """Return what the proximal term pulls each parameter towards."""
        if self._received is None:
            self.anchor()
        assert self._received is not None
        return {
            name: torch.from_numpy(np.array(self._received[name])).to(parameter.device)
            for name, parameter in self.parameters.items()
        }

    def _pull(self, received: dict[str, torch.Tensor], strength: float) -> None:
        """Add the gradient of the proximal term, mu (w - w_received)."""
        for name, target in received.items():
            parameter = self.parameters[name]
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - target, alpha=strength)

    def _check_weights(self, examples: Examples) -> None:
        if self.spec.class_weights == "balanced" and self.class_weights is None:
            what = "instructions have none" if isinstance(examples.targets[0], list) else "none were counted"
            raise FedbenchError(
                f"training.class_weights is balanced, but of classes {what}",
                remedy="Set training.class_weights to none.",
            )

    def _block_norms(self) -> dict[str, float]:
        """Return the L2 norm of the gradient of each transformer block; the head is one more."""
        sums: dict[str, float] = {}
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                block = block_of(name)
                sums[block] = sums.get(block, 0.0) + float(parameter.grad.square().sum())
        return {block: math.sqrt(total) for block, total in sums.items()}

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context that computes in the declared precision."""
        if self.loaded.compute is torch.bfloat16:
            return torch.autocast(self.loaded.device.type, dtype=torch.bfloat16)
        return nullcontext()


def batch_loss(
    model: Any, batch: dict[str, torch.Tensor], class_weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (mean cross-entropy, logits) of a batch: of classes, weighted if there are weights, or of responses.

    For responses, logits are computed from the first response token of the batch on: a prompt carries no loss, and a
    vocabulary-sized row for each of its tokens is most of the memory of a small language model. The logits are those
    that predict these tokens, and one more, whose next token is not known.
    """
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    labels = batch["labels"]
    if labels.dim() == 1:
        logits = model(**inputs).logits
        return cross_entropy(logits.float(), labels, weight=class_weights), logits
    first = max(1, int((labels != IGNORED).any(dim=0).nonzero()[0]))
    logits = model(**inputs, logits_to_keep=labels.shape[1] - first + 1).logits
    return next_token_loss(logits, labels[:, first:]), logits


def distilled(loss: torch.Tensor, logits: torch.Tensor, taught: torch.Tensor, spec: DistillationSpec) -> torch.Tensor:
    """Return (1 - a) loss + a T^2 KL(teacher || student), both softened by T (Hinton et al. 2015, section 2)."""
    student = torch.log_softmax(logits.float() / spec.temperature, dim=-1)
    teacher = torch.log_softmax(taught / spec.temperature, dim=-1)
    divergence = kl_div(student, teacher, log_target=True, reduction="batchmean")
    return (1 - spec.weight) * loss + spec.weight * spec.temperature**2 * divergence


def by_length(examples: Examples, size: int) -> list[list[int]]:
    """Return batches of rows of like length, for evaluation."""
    order = sorted(range(len(examples)), key=lambda i: len(examples.inputs[i]))
    return [order[k : k + size] for k in range(0, len(order), size)]
