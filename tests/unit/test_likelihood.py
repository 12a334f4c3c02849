"""The loss of a language model, against that of torch on logits in float32."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from fedbench.training import likelihood
from fedbench.training.examples import IGNORED
from fedbench.training.likelihood import next_token_loss

BATCH, POSITIONS, VOCABULARY = 3, 11, 50


def example(dtype):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(BATCH, POSITIONS, VOCABULARY, generator=generator).mul(3).to(dtype).requires_grad_()
    following = torch.randint(0, VOCABULARY, (BATCH, POSITIONS - 1), generator=generator)
    following[0, 4:] = IGNORED
    following[2, :3] = IGNORED
    return logits, following


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("together", [1, 7 * VOCABULARY, 2**22])  # a row, some rows, all rows at a time
def test_loss_and_gradient_are_those_of_torch(monkeypatch, dtype, together):
    monkeypatch.setattr(likelihood, "LOGITS", together)
    logits, following = example(dtype)
    (ours := next_token_loss(logits, following)).mul(0.5).backward()
    gradient, logits.grad = logits.grad, None
    theirs = cross_entropy(logits[:, :-1].flatten(0, 1).float(), following.flatten(), ignore_index=IGNORED)
    theirs.mul(0.5).backward()
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient, logits.grad, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-9)
    assert not gradient[:, -1].any()
    assert not gradient[0, 4:].any()


def test_nothing_to_learn_is_no_number_and_no_gradient():
    logits, following = example(torch.float32)
    assert torch.isnan(next_token_loss(logits, torch.full_like(following, IGNORED)))
