"""Predicted memory of a training step, held against the bytes of real models and what autograd keeps of a real step."""

import bitsandbytes
import pytest
import tiny
import torch

from fedbench.errors import FedbenchError
from fedbench.files import read_json
from fedbench.models import memory
from fedbench.models.counting import footprint, moments
from fedbench.models.loading import load
from fedbench.models.random_weights import make
from fedbench.models.shapes import filled, shape
from fedbench.spec import RandomWeights, TrainingSpec
from fedbench.training.examples import IGNORED, Examples
from fedbench.training.loop import Trainer, batch_loss

BASE = {"hidden_size": 64, "num_hidden_layers": 3, "intermediate_size": 192, "vocab_size": 1024}
SHAPES = {
    "llama": BASE | {"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2},
    "phi3": BASE | {"model_type": "phi3", "num_attention_heads": 4, "num_key_value_heads": 4},
    "qwen2": BASE | {"model_type": "qwen2", "num_attention_heads": 4, "num_key_value_heads": 2},
    "gemma3": BASE | {"model_type": "gemma3_text", "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 32},
}
# The numbers of parameters of the released models, as their hub pages count them.
PUBLISHED = {
    "llama-2-7b": 6_738_415_616,
    "phi-3-mini": 3_821_079_552,
    "qwen2.5-0.5b": 494_032_768,
    "gemma-3-270m": 268_098_176,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
}
NF4 = {"quantisation": "nf4", "dtype": "bfloat16"}
BATCH, LENGTH, RESPONSE = 4, 96, 40


def spec(**changes) -> TrainingSpec:
    return TrainingSpec(batch_size=BATCH, max_length=LENGTH, learning_rate=5e-3, **{**NF4, **changes})


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("shapes"), {}

    def snapshot(name):
        if name not in made:
            made[name] = folder / name
            make(RandomWeights(kind="random", config=SHAPES[name]), made[name])
        return made[name]

    return snapshot


def examples(rows=BATCH) -> Examples:
    inputs = torch.randint(5, 1024, (rows, LENGTH), generator=torch.Generator().manual_seed(0)).tolist()
    prompt = LENGTH - RESPONSE
    return Examples(inputs, [[IGNORED] * prompt + row[prompt:] for row in inputs])


def held(tensors) -> int:
    """Return the bytes of the storages behind tensors, each counted once."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors if t is not None}
    return sum(storages.values())


def constants(model):
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            state = module.weight.quant_state
            yield from (state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code)


def kept(model, batch, autocast) -> int:
    """Return the bytes that autograd keeps for the backward pass of a batch, parameters and constants apart."""
    known = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers(), *constants(model))}
    found = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = tensor, storage.nbytes()  # held on to: an address is not used twice
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss, _ = batch_loss(model, batch)
        loss.backward()
    return sum(size for _, size in found.values())


@pytest.mark.parametrize(
    ("changes", "task"),
    [
        (NF4, "instruct"),
        ({"quantisation": "nf4", "dtype": "float32"}, "instruct"),
        ({"quantisation": "none", "dtype": "bfloat16"}, "instruct"),
        ({"quantisation": "none", "dtype": "float32", "adaptation": "full"}, "instruct"),
        (NF4, "classify"),
    ],
)
@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_all_but_activations_is_exact_to_the_byte(snapshots, name, changes, task):
    training = spec(**changes)
    loaded = load(snapshots(name), task, training)
    trainer, rows = Trainer(loaded, training), examples()
    if task == "classify":
        rows = Examples(rows.inputs, [0, 1] * (BATCH // 2))
    trainer.train(rows, 1, (0, 0))
    trainer.optimizer.zero_grad = lambda set_to_none: None  # so that they are there to be counted
    trainer.train(rows, 1, (0, 0), start=1)
    parameters = list(loaded.model.parameters())
    gradients = [p.grad for p in parameters]
    state = [value for each in trainer.optimizer.state.values() for value in each.values() if value.dim()]
    predicted = memory.predict(read_json(snapshots(name) / "config.json"), training, task, BATCH, LENGTH)
    assert predicted.weights == held([p for p in parameters if not p.requires_grad] + list(loaded.model.buffers()))
    assert predicted.constants == held(constants(loaded.model))
    assert predicted.adapters == held(p for p in parameters if p.requires_grad)
    assert predicted.gradients == held(gradients)
    assert predicted.optimizer == held(state)
    assert predicted.total == sum(
        getattr(predicted, part)
        for part in ("weights", "constants", "adapters", "gradients", "optimizer", "activations", "workspace")
    )


def test_moments_of_paged_8_bit_adamw_are_those_of_bitsandbytes():
    parameters = [torch.nn.Parameter(torch.randn(size)) for size in (100, 4096, 70_001)]
    optimizer = bitsandbytes.optim.PagedAdamW8bit(parameters)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    with pytest.warns(UserWarning, match="Paged optimizers are not supported on CPU"):
        optimizer.step()
    state = [v for each in optimizer.state.values() for v in each.values() if isinstance(v, torch.Tensor)]
    assert moments([100, 4096, 70_001], spec(optimizer="paged-adamw-8bit")) == held(state)


@pytest.mark.parametrize(
    ("changes", "padded", "factor"),
    [
        (NF4, False, 1.01),
        (NF4, True, 1.01),
        ({"quantisation": "none", "dtype": "bfloat16"}, False, 1.01),
        ({"quantisation": "nf4", "dtype": "float32"}, True, 1.01),
        ({**NF4, "lora": {"dropout": 0.1}}, False, 1.05),  # torch's CPU kernel keeps a wider mask
        ({**NF4, "gradient_checkpointing": True}, False, 1.02),
        ({"quantisation": "none", "dtype": "float32", "adaptation": "full"}, False, 1.1),
    ],
)
@pytest.mark.parametrize("name", SHAPES)
def test_activations_are_what_autograd_keeps(snapshots, monkeypatch, name, changes, factor, padded):
    # peft asks for CUDA's autocast alone, and widens its input where that is off.
    asked = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *device: asked(*device) if device else asked("cpu"))
    training, rows = spec(**changes), examples()
    model = load(snapshots(name), "instruct", training).model
    batch = {"input_ids": torch.tensor(rows.inputs), "labels": torch.tensor(rows.targets)}
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    if padded:
        batch["attention_mask"][0, -1] = 0
    predicted = footprint(SHAPES[name], training).kept(BATCH, LENGTH, RESPONSE, padded)
    assert 1 / factor < predicted / kept(model, batch, training.dtype == "bfloat16") < factor


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_of_the_registry_have_the_published_number_of_parameters(name):
    model = shape(tiny.REGISTRY.models[f"{name}-shape"].weights.config, "instruct", spec(quantisation="none"))
    assert sum(p.numel() for p in model.parameters() if not p.requires_grad) == PUBLISHED[name]


def test_llama_2_7b_by_hand():
    counts = footprint(tiny.REGISTRY.models["llama-2-7b-shape"].weights.config, spec())
    matrices = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
    rest = 2 * 32000 * 4096 + (2 * 32 + 1) * 4096
    assert counts.weights == matrices // 2 + 2 * rest + 2 * 4 * 64  # and the rotary frequencies, twice
    assert counts.constants == matrices // 64 + 4 * matrices // (64 * 256) + 32 * 7 * (4 + 64 + 1024)
    assert counts.adapters == 4 * counts.trainable == 4 * 32 * 4 * 16 * (4096 + 4096)
    assert counts.optimizer == 2 * counts.adapters
    # Forward and backward through frozen matrices: 4 operations a number and token, plus adapters and attention.
    assert counts.flops(1, 512, 512) == 512 * (4 * (matrices + 32000 * 4096) + 6 * counts.trainable) + 6 * (
        512 * 512 * 32 * 4096
    )


def test_logits_count_from_the_first_response_token_on():
    counts = footprint(SHAPES["llama"] | {"vocab_size": 50_000}, spec())
    more, less = (counts.memory(BATCH, LENGTH, response).total for response in (60, 20))
    assert more - less == BATCH * 40 * 50_000 * (2 + 2)  # with their gradient; in float32 only some at a time
    assert counts.memory(BATCH, LENGTH, 10 * LENGTH) == counts.memory(BATCH, LENGTH)


def test_checkpointing_rows_and_masks_cost_what_they_should():
    config = tiny.REGISTRY.models["phi-3-mini-shape"].weights.config
    plain, saved = (footprint(config, spec(gradient_checkpointing=on)) for on in (False, True))
    assert saved.memory(4, 1024).total < 0.5 * plain.memory(4, 1024).total
    assert plain.memory(1, 1024, padded=True).total - plain.memory(1, 1024).total == 32 * 2 * 1024**2
    assert plain.memory(1, 2048, padded=True) == plain.memory(1, 2048)  # longer than its window: masked anyway
    for counts in (plain, saved):
        for length in (512, 2048):
            most = counts.largest_batch(16e9, length)
            assert counts.memory(most, length).total <= 16e9 < counts.memory(most + 1, length).total
        assert counts.largest_batch(1e9, 512) == 0


def test_types_without_a_formula_are_refused():
    with pytest.raises(FedbenchError, match=r"no formula for the activations of model type 'gpt2'.*llama"):
        memory.predict({"model_type": "gpt2"}, spec(), "instruct", 1, 128)


@pytest.mark.parametrize("name", SHAPES)
def test_filled_models_are_shaped_as_loaded_ones_and_learn(snapshots, name):
    training, place = spec(), torch.device("cpu")
    made, loaded = filled(SHAPES[name], "instruct", training, place), load(snapshots(name), "instruct", training)

    def described(model):
        return {name: (tuple(t.shape), t.dtype, t.requires_grad) for name, t in model.named_parameters()}

    assert described(made.model) == described(loaded.model)
    for (name, ours), (_, theirs) in zip(made.model.named_buffers(), loaded.model.named_buffers(), strict=True):
        assert torch.equal(ours, theirs), name
    assert held(constants(made.model)) == held(constants(loaded.model))
    losses = Trainer(made, training).train(examples(), 8, (0, 0)).losses
    assert losses[-1] < losses[0]
