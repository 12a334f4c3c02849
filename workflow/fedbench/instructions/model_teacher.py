"""A causal model as the teacher of Self-Instruct: few-shot prompts, seeded sampling in batches.

Imports torch, and only when a teacher is made, so that data jobs with the template teacher do without.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.instructions import few_shot
from fedbench.instructions.teacher import Task
from fedbench.models import unavailable
from fedbench.models.architectures import architecture
from fedbench.spec import GenerationSpec


class ModelTeacher:
    """A snapshot that writes tasks in the manner of a few examples.

    Args:
        name: as shown in the column `teacher`.
        snapshot: folder with configuration, weights and tokenizer.
        generation: how it samples.

    Raises:
        FedbenchError: the snapshot is no causal language model.
    """

    def __init__(self, name: str, snapshot: Path, generation: GenerationSpec) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        from fedbench.models import palm

        unavailable.require(snapshot)
        palm.register()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self.name, self.batch, self.generation = name, generation.batch, generation
        kind = AutoConfig.from_pretrained(snapshot, trust_remote_code=False).model_type
        # AutoModelForCausalLM takes an encoder such as BERT without a word, and what that writes is noise.
        if not architecture(kind).generative:
            raise FedbenchError(
                f"the teacher {name!r} is no causal language model but a {kind}, which writes no text",
                where=snapshot,
                remedy="Name a causal model of config/models.yaml under edge_fit.instructions.self_instruct.teacher, "
                "or `template`.",
            )
        self.tokenizer: Any = AutoTokenizer.from_pretrained(snapshot, trust_remote_code=False)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model, told = AutoModelForCausalLM.from_pretrained(
            snapshot,
            dtype=torch.bfloat16,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
        if told["missing_keys"]:  # transformers makes them up at random, in silence
            raise FedbenchError(
                f"{len(told['missing_keys'])} weights of the teacher {name!r} are not in its snapshot",
                where=snapshot,
                remedy="Point weights in config/models.yaml at a whole checkpoint of this model type.",
            )
        self.model: Any = model.to(self.device).eval()

    def propose(self, examples: Sequence[Sequence[Task]], rngs: Sequence[random.Random]) -> list[Task | None]:
        """Return a candidate, or None where the answer could not be read, for each set of examples.

        Both parts of an answer are sampled in turn, each behind its mark, so that none is forgotten. The first
        generator seeds the sampling of the whole batch: equal batches give equal candidates.
        """
        chosen = [few_shot.choose(shown, rng) for shown, rng in zip(examples, rngs, strict=True)]
        prompts = [f"{self._prompt(shown, wanted)}{wanted.marks[0]}" for shown, wanted in chosen]
        first = self._sample(prompts, rngs[0].getrandbits(63), ["\n"])
        lines = [text.strip().split("\n")[0] for text in first]
        marked = [
            f"{prompt} {line}\n{wanted.marks[1]}"
            for prompt, line, (_, wanted) in zip(prompts, lines, chosen, strict=True)
        ]
        second = self._sample(marked, rngs[0].getrandbits(63), [few_shot.END])
        return [
            few_shot.read(line, text, wanted, rng)
            for line, text, (_, wanted), rng in zip(lines, second, chosen, rngs, strict=True)
        ]

    def _prompt(self, examples: Sequence[Task], wanted: few_shot.Request) -> str:
        messages = few_shot.conversation(examples, wanted)
        if not self.tokenizer.chat_template:
            return f"{self.tokenizer.bos_token or ''}{few_shot.plain(messages)}"
        text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return text

    def _sample(self, prompts: Sequence[str], seed: int, stops: list[str]) -> list[str]:
        """Return the text after each prompt up to its end or one of `stops`; empty where it did not end in time."""
        import torch

        inputs = self.tokenizer(
            list(prompts), add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt"
        ).to(self.device)
        longest = int(inputs["input_ids"].shape[1])
        self._check_length(longest)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.inference_mode():
            torch.manual_seed(seed)
            made = self.model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                do_sample=True,
                temperature=self.generation.temperature,
                top_p=self.generation.top_p,
                top_k=0,
                max_new_tokens=self.generation.max_new_tokens,
                pad_token_id=self.tokenizer.pad_token_id,
                stop_strings=stops,
                tokenizer=self.tokenizer,
            )[:, longest:].tolist()
        return [self._ended(row, stops) for row in made]

    def _ended(self, row: Sequence[int], stops: Sequence[str]) -> str:
        ends = self.model.generation_config.eos_token_id
        ends = {ends} if isinstance(ends, int) else set(ends or ())
        last = next((place for place, token in enumerate(row) if token in ends), None)
        text: str = self.tokenizer.decode(row[:last], skip_special_tokens=True)
        return text if last is not None or any(stop in text for stop in stops) else ""

    def _check_length(self, longest: int) -> None:
        room = getattr(self.model.config, "max_position_embeddings", None)
        if room is not None and longest + self.generation.max_new_tokens > room:
            raise FedbenchError(
                f"a prompt of {longest} tokens and {self.generation.max_new_tokens} new ones exceed the {room} "
                f"positions of the teacher {self.name!r}",
                where=self.model.config.name_or_path,
                remedy="Lower self_instruct.generation.max_new_tokens, or choose a teacher with a longer context.",
            )
