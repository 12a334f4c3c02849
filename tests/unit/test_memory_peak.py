"""The predicted peak of activations, held against every tensor that lives during a real step."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fedbench.models import memory
from fedbench.models.counting import footprint
from fedbench.models.loading import load
from fedbench.models.random_weights import make
from fedbench.spec import RandomWeights, TrainingSpec
from fedbench.training import likelihood
from fedbench.training.examples import IGNORED
from fedbench.training.loop import batch_loss

BASE = {"hidden_size": 256, "num_hidden_layers": 3, "intermediate_size": 704, "vocab_size": 2000}
HEADS = {"num_attention_heads": 8, "num_key_value_heads": 8}
SHAPES = {"llama": BASE | HEADS | {"model_type": "llama"}, "phi3": BASE | HEADS | {"model_type": "phi3"}}
BATCH, LENGTH = 4, 128


class Living(TorchDispatchMode):
    """Follows the bytes of all storages that come to be; those that were there before do not count."""

    def __init__(self, known):
        super().__init__()
        self.known = [tensor.untyped_storage() for tensor in known]
        self.sizes = {storage._cdata: 0 for storage in self.known}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.sizes:
                    self.sizes[storage._cdata] = storage.nbytes()
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self.gone, storage._cdata)
        self.peak = max(self.peak, self.now)
        return out

    def gone(self, storage):
        self.now -= self.sizes.pop(storage, 0)


def tensors(model):
    """Yield what a model holds before a step: parameters, their gradients, buffers, constants of the quantisation."""
    yield from model.buffers()
    for parameter in model.parameters():
        yield parameter
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
            yield parameter.grad
    for module in model.modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None:
            yield from (state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code)


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peak")
    for name, config in SHAPES.items():
        make(RandomWeights(kind="random", config=config), folder / name)
    return folder


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("response", [LENGTH, 28])
@pytest.mark.parametrize(
    ("name", "quantisation", "dtype"),
    [("llama", "nf4", "bfloat16"), ("phi3", "nf4", "bfloat16"), ("llama", "none", "float32")],
)
def test_peak_is_that_of_a_real_step(snapshots, monkeypatch, name, quantisation, dtype, checkpointing, response):
    # peft asks for CUDA's autocast alone, and widens its input where that is off.
    asked = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *device: asked(*device) if device else asked("cpu"))
    monkeypatch.setattr(memory, "LOGITS", together := 100 * BASE["vocab_size"])  # so that it goes in pieces here too
    monkeypatch.setattr(likelihood, "LOGITS", together)
    training = TrainingSpec(quantisation=quantisation, dtype=dtype, gradient_checkpointing=checkpointing)
    model = load(snapshots / name, "instruct", training).model.train()
    ids = torch.randint(5, 2000, (BATCH, LENGTH), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[:, : LENGTH - response] = IGNORED
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    with Living([*tensors(model), *batch.values()]) as living:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            loss, logits = batch_loss(model, batch)
        loss.backward()
    assert logits.shape[1] == min(response, LENGTH - 1) + 1
    predicted = footprint(SHAPES[name], training).activations(BATCH, LENGTH, min(response, LENGTH - 1), padded=False)
    assert 0.99 < predicted / living.peak < 1.08
