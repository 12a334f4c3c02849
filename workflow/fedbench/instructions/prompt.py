"""How a record becomes a prompt: Llama 2's instruction marks, or the messages of a model's own chat template."""

from typing import Literal, overload

Style = Literal["inst", "chat"]
Messages = list[dict[str, str]]


@overload
def render(instruction: str, context: str, response: str | None, style: Literal["inst"] = "inst") -> str: ...


@overload
def render(instruction: str, context: str, response: str | None, style: Literal["chat"]) -> Messages: ...


def render(instruction: str, context: str, response: str | None, style: Style = "inst") -> str | Messages:
    """Return the prompt, with the response where there is one (Edge-FIT, section III-B).

    Args:
        instruction: what to do.
        context: text to do it with, put below the instruction after an empty line; may be empty.
        response: the answer to learn; None leaves the prompt open for generation. The open prompt is always a prefix of
            the full text, so a collator can mask it.
        style: "inst" gives `[INST] {instruction} [/INST] {response}`; "chat" gives messages for
            `tokenizer.apply_chat_template`. Beginning and end marks are the tokeniser's business.
    """
    question = f"{instruction.strip()}\n\n{context.strip()}" if context.strip() else instruction.strip()
    answer = None if response is None else response.strip()
    if style == "inst":
        return f"[INST] {question} [/INST]" + (f" {answer}" if answer is not None else "")
    if style == "chat":
        messages = [{"role": "user", "content": question}]
        return messages if answer is None else [*messages, {"role": "assistant", "content": answer}]
    raise ValueError(f"style must be 'inst' or 'chat', not {style!r}")
