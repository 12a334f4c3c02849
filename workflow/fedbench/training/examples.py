"""Tokenised examples: flow texts with a class, or instructions whose response carries the loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedbench.instructions.prompt import render

IGNORED = -100  # the label that cross-entropy leaves out


@dataclass(frozen=True)
class Examples:
    """Tokenised rows.

    Attributes:
        inputs: token ids a row.
        targets: the class index a row, or (instructions) the token labels a row with the prompt masked.
        truncated: rows that were cut to the maximum length.
        taught: a teacher's logits, (rows, classes) float32, where the rows are learnt from one.
    """

    inputs: list[list[int]]
    targets: list[int] | list[list[int]]
    truncated: int = 0
    taught: np.ndarray[Any, np.dtype[np.float32]] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: Sequence[int]) -> "Examples":
        """Return the examples at positions `rows`."""
        return Examples(
            [self.inputs[i] for i in rows],
            [self.targets[i] for i in rows],  # type: ignore[arg-type]
            taught=None if self.taught is None else self.taught[list(rows)],
        )


def flows(tokenizer: Any, texts: Sequence[str], classes: Sequence[int], max_length: int) -> Examples:
    """Tokenise rendered flows with the tokenizer's own special tokens, cut to `max_length` tokens."""
    inputs: list[list[int]] = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
    full = tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
    return Examples(inputs, list(classes), sum(len(a) < len(b) for a, b in zip(inputs, full, strict=True)))


def prompt_ids(tokenizer: Any, instruction: str, context: str) -> list[int]:
    """Return the token ids of a prompt up to where the response starts: chat template if there is one, else [INST]."""
    if getattr(tokenizer, "chat_template", None):
        text = tokenizer.apply_chat_template(
            render(instruction, context, None, style="chat"), tokenize=False, add_generation_prompt=True
        )
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        ids = tokenizer(str(render(instruction, context, None, style="inst")))["input_ids"]
    return ids


def instructions(tokenizer: Any, rows: Sequence[dict[str, str]], max_length: int) -> Examples:
    """Tokenise instruction records; the loss falls on the response (and its end) only.

    A record longer than `max_length` loses the start of its prompt, so that the question's end and the response stay.
    """
    inputs, targets, cut = [], [], 0
    for row in rows:
        prompt = prompt_ids(tokenizer, row["instruction"], row["context"])
        answer = tokenizer(row["response"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        if len(prompt) > max_length // 2:  # both are long: share the room
            answer = answer[: max_length // 2]
        answer = answer[:max_length]
        room = max_length - len(answer)
        cut += len(prompt) > room
        prompt = prompt[max(0, len(prompt) - room) :]
        inputs.append(prompt + answer)
        targets.append([IGNORED] * len(prompt) + answer)
    return Examples(inputs, targets, cut)
