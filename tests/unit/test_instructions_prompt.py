"""Prompts are rendered as the paper and the chat templates want them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbench.instructions.prompt import render


def test_llama_2_form():
    assert render("Say hello.", "", "Hello.") == "[INST] Say hello. [/INST] Hello."
    assert render("Say hello.", "", None) == "[INST] Say hello. [/INST]"


def test_context_goes_below_the_instruction():
    assert render("Sum up.", " Long text.\n", None) == "[INST] Sum up.\n\nLong text. [/INST]"


def test_chat_form_is_messages():
    user = {"role": "user", "content": "Sum up.\n\nText."}
    assert render("Sum up.", "Text.", None, "chat") == [user]
    assert render("Sum up.", "Text.", "Done.", "chat") == [user, {"role": "assistant", "content": "Done."}]


@given(st.text(), st.text(), st.text())
def test_the_open_prompt_is_a_prefix_of_the_full_text(instruction, context, response):
    assert render(instruction, context, response).startswith(render(instruction, context, None))


def test_an_unknown_style_is_an_error():
    with pytest.raises(ValueError, match="'inst' or 'chat'"):
        render("a", "b", "c", "alpaca")
