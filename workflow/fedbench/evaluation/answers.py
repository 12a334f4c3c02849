"""Answers of a causal model to closed-label instructions: greedy generation in batches, or ranking of the labels."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from fedbench.instructions import answer
from fedbench.training.examples import prompt_ids
from fedbench.training.loop import Trainer

BATCH = 32  # prompts generated for together ...
POSITIONS = 4224  # ... while they and their answers fit here (8 of 512 + 16): the KV cache of a 7B model is 2 GiB then


def generate(
    trainer: Trainer, rows: Sequence[dict[str, Any]], max_new_tokens: int, batch_size: int = BATCH
) -> list[str]:
    """Return the greedy answer to each record, generated in left-padded batches of like length with a KV cache.

    The size of the batches is part of the result: sums in another order can turn a near-tie between two tokens.
    """
    tokenizer = trainer.loaded.tokenizer
    prompts = [prompt_ids(tokenizer, row["instruction"], row["context"])[-trainer.spec.max_length :] for row in rows]
    answers = [""] * len(prompts)
    for chosen in _batches([len(prompt) for prompt in prompts], max_new_tokens, batch_size):
        for i, text in zip(chosen, complete(trainer, [prompts[i] for i in chosen], max_new_tokens), strict=True):
            answers[i] = text
    return answers


@torch.inference_mode()
def complete(trainer: Trainer, prompts: Sequence[list[int]], max_new_tokens: int, streamer: Any = None) -> list[str]:
    """Return the greedy continuation of each prompt (token ids), all generated together.

    Args:
        streamer: of transformers, to follow a single prompt's answer while it is made.
    """
    loaded = trainer.loaded
    loaded.model.eval()
    longest, pad = max(map(len, prompts)), int(loaded.tokenizer.pad_token_id)
    ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts], device=loaded.device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=loaded.device)
    with trainer.autocast():
        made = loaded.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            use_cache=True,
            pad_token_id=pad,
            streamer=streamer,
        )
    texts: list[str] = loaded.tokenizer.batch_decode(made[:, longest:], skip_special_tokens=True)
    return texts


@torch.inference_mode()
def rank(trainer: Trainer, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return, for each record, the label of its closed set with the highest log-likelihood as a whole answer.

    The labels of a record go through the model together, and logits are computed for their tokens alone.
    """
    loaded = trainer.loaded
    loaded.model.eval()
    pad, chosen = int(loaded.tokenizer.pad_token_id), []
    for row in rows:
        prompt = prompt_ids(loaded.tokenizer, row["instruction"], row["context"])[-trainer.spec.max_length :]
        tails: list[list[int]] = loaded.tokenizer(list(row["labels"]), add_special_tokens=False)["input_ids"]
        longest = max(map(len, tails))
        filled = [tail + [pad] * (longest - len(tail)) for tail in tails]
        real = torch.tensor([[1] * len(tail) + [0] * (longest - len(tail)) for tail in tails], device=loaded.device)
        ids = torch.tensor([prompt + tail for tail in filled], device=loaded.device)
        mask = torch.cat([torch.ones(len(tails), len(prompt), dtype=real.dtype, device=loaded.device), real], dim=1)
        with trainer.autocast():
            logits = loaded.model(input_ids=ids, attention_mask=mask, logits_to_keep=longest + 1).logits[:, :-1]
        each = torch.log_softmax(logits.float(), dim=-1).gather(-1, ids[:, -longest:, None]).squeeze(-1)
        chosen.append(row["labels"][int((each * real).sum(dim=1).argmax())])
    return chosen


def answered(
    trainer: Trainer, rows: Sequence[dict[str, Any]], scoring: str, max_new_tokens: int
) -> list[tuple[str | None, str]]:
    """Return (label found or None, raw answer) for each closed-label record."""
    if scoring == "rank":
        return [(label, label) for label in rank(trainer, rows)]
    texts = generate(trainer, rows, max_new_tokens)
    return [(answer.parse(text, row["labels"]), text) for text, row in zip(texts, rows, strict=True)]


def _batches(lengths: Sequence[int], new: int, size: int) -> Iterator[list[int]]:
    """Yield the places of prompts of like length, shortest first: at most `size`, within `POSITIONS` with answers."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and (len(batch) == size or (len(batch) + 1) * (lengths[i] + new) > POSITIONS):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
