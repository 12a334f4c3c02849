"""Weights on the Hugging Face hub: one revision, safetensors only, and a plain reason where they are not to be had."""

import re
import shutil
from pathlib import Path

from fedbench.spec import HubWeights

TIMEOUT = 5.0  # seconds to wait for the hub to answer: without one, every model is to be known as absent quickly
_WEIGHTS = re.compile(r"(?:model|pytorch_model)(?:-\d+-of-\d+)?\.(?:safetensors|bin)")
_BESIDE = re.compile(r"[^/]+\.(?:json|txt|model|jinja)")  # configuration, tokenizer, chat template, index of shards


class NotToBeHadError(Exception):
    """The hub does not give this model, for a reason and with a remedy that a table can show."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


def download(weights: HubWeights, folder: Path) -> str:
    """Fetch configuration, tokenizer and weights into `folder`; returns the commit that `revision` stands for.

    Where a repository has no safetensors (DeBERTa, OPT) and the entry allows its PyTorch files, they are fetched:
    `fedbench.models.snapshot` converts them, reading tensors and nothing else.

    Raises:
        NotToBeHadError: gated, unknown, without safetensors, or the hub cannot be reached; known within seconds.
        OSError: a fault of this machine, such as a full disk.
    """
    import httpx2
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        # One request without the client's own retries, which take half a minute where there is no network.
        told = HfApi().model_info(weights.id, revision=weights.revision, timeout=TIMEOUT)
        names = choose([file.rfilename for file in told.siblings or []], weights.pickle)
        commit = told.sha or weights.revision
        snapshot_download(weights.id, revision=commit, local_dir=folder, allow_patterns=names, etag_timeout=TIMEOUT)
    except (httpx2.HTTPError, HFValidationError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise NotToBeHadError(*_explain(weights, error)) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's notes on the download
    return commit


def choose(names: list[str], pickle: bool = False) -> list[str]:
    """Return the files of a repository to fetch: one kind of weights, safetensors where there are any.

    Args:
        names: all that it holds.
        pickle: PyTorch's files, which are pickles, will do as well.

    Raises:
        NotToBeHadError: there are no weights in a format that will do.
    """
    weights = [name for name in names if _WEIGHTS.fullmatch(name)]
    chosen = [name for name in weights if name.endswith(".safetensors")] or weights
    if not chosen:
        raise NotToBeHadError(
            "the repository holds no weights that transformers reads at this revision",
            "name another revision or repository in config/models.yaml, or use `kind: local`",
        )
    if not pickle and not chosen[0].endswith(".safetensors"):
        raise NotToBeHadError(
            "the repository holds its weights as pickles (pytorch_model.bin) alone, which are read only if asked for",
            "name a revision with safetensors (the hub offers conversions as pull requests, refs/pr/<number>), convert "
            "them yourself and use `kind: local`, or allow PyTorch's restricted unpickler with `pickle: true`",
        )
    return chosen + [name for name in names if _BESIDE.fullmatch(name)]


def _explain(weights: HubWeights, error: Exception) -> tuple[str, str]:
    """Return (reason, remedy) of an error of the hub's client."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    what = f"{weights.id} at {weights.revision}"
    entry = "correct the entry in config/models.yaml"
    if isinstance(error, GatedRepoError):
        return (
            f"{what} is gated: its licence must be accepted",
            f"accept it at https://huggingface.co/{weights.id} and log in (`hf auth login`, or set HF_TOKEN)",
        )
    if isinstance(error, RevisionNotFoundError):
        return f"the hub has no revision {weights.revision} of {weights.id}", entry
    if isinstance(error, RepositoryNotFoundError):
        return f"the hub knows no {weights.id}, or shows it only to those who log in", f"log in, or {entry}"
    if isinstance(error, HFValidationError):
        return f"{weights.id!r} is no name of a model on the hub", entry
    if isinstance(error, OfflineModeIsEnabled):
        return f"{what} was not fetched: HF_HUB_OFFLINE is set", "unset it, or use `kind: local`"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        remedy = {401: "log in", 403: "log in, or accept the licence", 404: entry}.get(status, "try again later")
        return f"the hub answered {status} for {what}", remedy
    detail = (str(error).splitlines() or [""])[0]
    return (
        f"the hub could not be reached for {what} ({type(error).__name__}: {detail})",
        "check the network, or use `kind: local` with a folder of the model",
    )
