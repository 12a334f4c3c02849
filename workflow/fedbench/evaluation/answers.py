"""Answers of a causal model to closed-label instructions: greedy generation in batches, or ranking of the labels."""

from collections.abc import Sequence
from typing import Any

import torch

from fedbench.instructions import answer
from fedbench.training.examples import IGNORED, prompt_ids
from fedbench.training.loop import Trainer


@torch.inference_mode()
def generate(trainer: Trainer, rows: Sequence[dict[str, Any]], max_new_tokens: int, batch_size: int = 8) -> list[str]:
    """Return the greedy answer to each record, generated in left-padded batches of like length with a KV cache."""
    loaded = trainer.loaded
    model, tokenizer = loaded.model, loaded.tokenizer
    model.eval()
    prompts = [prompt_ids(tokenizer, row["instruction"], row["context"])[-trainer.spec.max_length :] for row in rows]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers = [""] * len(prompts)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        longest = max(len(prompts[i]) for i in chosen)
        pad = int(tokenizer.pad_token_id)
        ids = torch.tensor([[pad] * (longest - len(prompts[i])) + prompts[i] for i in chosen], device=loaded.device)
        mask = torch.tensor(
            [[0] * (longest - len(prompts[i])) + [1] * len(prompts[i]) for i in chosen], device=loaded.device
        )
        with trainer.autocast():
            made = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                use_cache=True,
                pad_token_id=pad,
            )
        for i, text in zip(chosen, tokenizer.batch_decode(made[:, longest:], skip_special_tokens=True), strict=True):
            answers[i] = text
    return answers


@torch.inference_mode()
def rank(trainer: Trainer, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return, for each record, the label of its closed set with the highest log-likelihood as a whole answer."""
    loaded = trainer.loaded
    loaded.model.eval()
    chosen = []
    for row in rows:
        prompt = prompt_ids(loaded.tokenizer, row["instruction"], row["context"])[-trainer.spec.max_length :]
        scores = []
        for label in row["labels"]:
            tail = loaded.tokenizer(label, add_special_tokens=False)["input_ids"]
            ids = torch.tensor([prompt + tail], device=loaded.device)
            targets = torch.tensor([[IGNORED] * len(prompt) + tail], device=loaded.device)
            with trainer.autocast():
                mean = float(loaded.model(input_ids=ids, labels=targets).loss)
            scores.append(-mean * len(tail))
        chosen.append(row["labels"][scores.index(max(scores))])
    return chosen


def answered(
    trainer: Trainer, rows: Sequence[dict[str, Any]], scoring: str, max_new_tokens: int
) -> list[tuple[str | None, str]]:
    """Return (label found or None, raw answer) for each closed-label record."""
    if scoring == "rank":
        return [(label, label) for label in rank(trainer, rows)]
    texts = generate(trainer, rows, max_new_tokens)
    return [(answer.parse(text, row["labels"]), text) for text, row in zip(texts, rows, strict=True)]
