"""The loss of a language model, without float32 arrays of the size of its logits.

Rows times vocabulary is the largest array of a step: with 262,144 tokens (Gemma 3), 1 GiB in float32 for a thousand
positions. `torch.nn.functional.cross_entropy` makes three of it; here they exist for some positions at a time. The
logits themselves and their gradient stay in compute precision, as they do there.
"""

from typing import Any

import torch
from torch.nn.functional import cross_entropy, pad

from fedbench.models.memory import LOGITS
from fedbench.training.examples import IGNORED


def next_token_loss(logits: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of the tokens that follow each position but the last.

    Equals `cross_entropy(logits[:, :-1].float(), following)`, but for the order in which losses are summed up.

    Args:
        logits: (batch, positions, vocabulary), in any precision.
        following: (batch, positions - 1); IGNORED where there is nothing to learn.

    Returns:
        A float32 scalar, NaN where all is IGNORED. It can be differentiated once.
    """
    targets = pad(following, (0, 1), value=IGNORED)  # rather than a copy of the logits without their last
    mean: torch.Tensor = _MeanLoss.apply(logits.flatten(0, 1), targets.flatten())  # type: ignore[no-untyped-call]
    return mean


class _MeanLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(logits, targets)
        total = torch.zeros((), device=logits.device)
        for some, wanted in zip(*_pieces(logits, targets), strict=True):
            total += cross_entropy(some.float(), wanted, ignore_index=IGNORED, reduction="sum")
        return total / (targets != IGNORED).sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, targets = ctx.saved_tensors
        scale = gradient / (targets != IGNORED).sum()
        found = torch.empty_like(logits)
        for some, wanted, place in zip(*_pieces(logits, targets, found), strict=True):
            place.copy_(_gradient(some, wanted, scale))  # nothing of a piece is left when the next begins
        return found, None


def _gradient(logits: torch.Tensor, targets: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return `scale` times the gradient of the summed cross-entropy, float32: softmax less one at the target."""
    each = torch.softmax(logits, dim=-1, dtype=torch.float32)
    counts = (targets != IGNORED).float().unsqueeze(1)
    each.scatter_add_(1, targets.clamp(min=0).unsqueeze(1), -counts)
    return each.mul_(counts * scale)


def _pieces(*arrays: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
    """Cut arrays of as many rows, the first of which has a column for each token, into views of some rows."""
    rows = max(1, LOGITS // arrays[0].shape[1])
    return [torch.split(array, rows) for array in arrays]
