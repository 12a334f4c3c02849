"""NF4 weights written out for use on a processor: the same answers to the bit, sooner, in four times the memory."""

import psutil
import torch
from torch import nn


def unpack(model: nn.Module, dtype: torch.dtype) -> None:
    """Replace the 4-bit layers of `model` by plain ones of what they stand for, if that takes half the free memory.

    On a processor bitsandbytes unpacks the weights at every product, which is most of the time of a single answer. On
    a GPU its kernels are the faster ones, so layers there stay as they are.
    """
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    packed = [
        (parent, name, layer)
        for parent in model.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, Linear4bit) and layer.weight.device.type == "cpu"
    ]
    size = sum(layer.in_features * layer.out_features for _, _, layer in packed) * dtype.itemsize
    if size > psutil.virtual_memory().available / 2:
        return
    for parent, name, layer in packed:
        plain = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(dtype)
        plain.weight = nn.Parameter(weight, requires_grad=False)
        plain.bias = layer.bias
        setattr(parent, name, plain)
