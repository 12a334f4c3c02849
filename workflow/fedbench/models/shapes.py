"""Models as shapes: built from a configuration alone, without weights, or filled with random ones layer by layer."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Params4bit

from fedbench.errors import FedbenchError
from fedbench.models import palm
from fedbench.models.architectures import architecture
from fedbench.models.loading import Loaded, Task, nf4, prepare
from fedbench.spec import TrainingSpec

META = torch.device("meta")


def shape(config: Mapping[str, Any], task: Task, training: TrainingSpec, classes: int = 2) -> Any:
    """Return the model that `loading.load` would make of such a checkpoint, on torch's meta device: no weight exists.

    Args:
        config: transformers configuration with its model_type.
        classes: of a classifier.

    Raises:
        FedbenchError: the type is not known, or writes no text although the task asks for it.
    """
    base = _base(config, task, training, classes)
    return prepare(base.to(META), None, task, training, META).model


def filled(
    config: Mapping[str, Any], task: Task, training: TrainingSpec, place: torch.device, classes: int = 2, seed: int = 0
) -> Loaded:
    """Return a model of random weights, ready to be trained; one matrix after the other is made and quantised.

    So a 7B model in NF4 takes its own 4 GB on the device, and never the 26 GB of its float32 weights.
    """

    base = _base(config, task, training, classes)
    torch.manual_seed(seed)
    for module in base.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if isinstance(module, Linear4bit) and name == "weight":
                size, dtype = (module.out_features, module.in_features), module.compute_dtype
                value = torch.empty(size, dtype=dtype, device=place).normal_(std=0.02)
                options = {"quant_type": parameter.quant_type, "compress_statistics": parameter.compress_statistics}
                module.weight = Params4bit(value, requires_grad=False, module=module, **options).to(place)
                continue
            value = torch.empty(parameter.shape, dtype=parameter.dtype, device=place)
            value = value.normal_(std=0.02) if parameter.dim() > 1 else value.fill_(float(name == "weight"))
            setattr(module, name, torch.nn.Parameter(value, requires_grad=parameter.requires_grad))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.to(place))
    base.tie_weights()
    return prepare(base, SimpleNamespace(pad_token_id=base.config.pad_token_id), task, training, place)


def _base(config: Mapping[str, Any], task: Task, training: TrainingSpec, classes: int) -> Any:
    """Return the base model with its parameters on the meta device and its buffers as they are."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification
    from transformers.quantizers.auto import AutoHfQuantizer

    palm.register()
    options = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, **config}
    made = AutoConfig.for_model(options.pop("model_type"), num_labels=classes, **options)
    facts = architecture(made.model_type)
    if task == "instruct" and not facts.generative:
        raise FedbenchError(
            f"a {made.model_type} model writes no text", remedy="Name a causal language model, or the task classify."
        )
    compute = torch.bfloat16 if training.dtype == "bfloat16" else torch.float32
    kind = AutoModelForCausalLM if task == "instruct" else AutoModelForSequenceClassification
    with init_empty_weights(include_buffers=False):
        base = kind.from_config(made, dtype=torch.float32 if training.adaptation == "full" else compute)
        if training.quantisation == "nf4":
            AutoHfQuantizer.from_config(nf4(compute, facts)).preprocess_model(base, device_map={"": "cpu"})
            base.is_loaded_in_4bit = True
            for module in base.modules():
                if isinstance(module, Linear4bit) and module.bias is not None:
                    module.bias.data = module.bias.data.to(compute)
    base.tie_weights()
    return base
