"""Other formats into a safetensors snapshot, once: GGUF and PyTorch's own."""

from pathlib import Path

from fedbench.errors import FedbenchError


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Convert a GGUF file once into a bfloat16 safetensors snapshot in `folder`.

    Raises:
        FedbenchError: the file is truncated or is not GGUF.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    read_gguf(gguf)
    _quiet()
    # Without `dequantize=True` the model loads but cannot be saved (transformers 5.23).
    quantised = GgufConfig(gguf_file=gguf.name, dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.float32,
        quantization_config=quantised,
        trust_remote_code=False,
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.is_quantized, model.hf_quantizer = False, None
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
    tokenizer.save_pretrained(folder)


def read_gguf(gguf: Path) -> int:
    """Return the number of tensors of a GGUF file after checking that it is whole.

    Raises:
        FedbenchError: not a GGUF file, or shorter than its own table of tensors says.
    """
    from gguf import GGUFReader

    try:
        tensors = GGUFReader(gguf).tensors
        end = max(int(t.data_offset) + int(t.n_bytes) for t in tensors)
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise FedbenchError(
            f"not a whole GGUF file: {error}",
            where=gguf,
            remedy="Delete it and run again; it will be fetched anew.",
        ) from error
    if end > gguf.stat().st_size:
        raise FedbenchError(
            f"truncated GGUF file: {gguf.stat().st_size:,} bytes of {end:,}",
            where=gguf,
            remedy="Delete it and run again; it will be fetched anew.",
        )
    return len(tensors)


def convert_pytorch(source: Path, folder: Path) -> None:
    """Convert a checkpoint of `pytorch_model.bin` files once into a safetensors snapshot in `folder`, in its precision.

    transformers 5 reads such files with PyTorch's restricted unpickler, which makes tensors and runs no code.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

    from fedbench.models.architectures import architecture

    _quiet()
    generative = architecture(AutoConfig.from_pretrained(source, trust_remote_code=False).model_type).generative
    kind = AutoModelForCausalLM if generative else AutoModel
    model, told = kind.from_pretrained(source, dtype="auto", output_loading_info=True, trust_remote_code=False)
    # What the checkpoint lacks was made up at random just now: a snapshot must go on lacking it.
    found = {name: value for name, value in model.state_dict().items() if name not in told["missing_keys"]}
    model.save_pretrained(folder, state_dict=found)
    AutoTokenizer.from_pretrained(source, trust_remote_code=False).save_pretrained(folder)


def _quiet() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
