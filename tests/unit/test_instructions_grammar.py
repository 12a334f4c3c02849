"""Slots keep their value, differ where they are numbered, and hold slots themselves."""

import random

import pytest

from fedbench.instructions.grammar import Filler, clock, number


def test_a_slot_keeps_its_value_and_a_numbered_one_differs():
    for seed in range(20):
        filler = Filler({"room": ["attic", "hall"]}, random.Random(seed))
        first, second, again = filler.fill("{room},{room2},{room}").split(",")
        assert first == again != second


def test_a_drawn_text_may_hold_slots():
    assert Filler({"a": ["x {b}"], "b": ["y"]}, random.Random(0)).fill("{a}") == "x y"


def test_a_slot_without_a_list_is_an_error():
    with pytest.raises(KeyError, match="room"):
        Filler({}, random.Random(0)).fill("{room}")


def test_clock_and_number_stay_in_their_bounds():
    rng = random.Random(0)
    assert {clock(1, 4)(rng).split(":")[0] for _ in range(200)} == {"1", "2", "3", "4"}
    assert {clock(0, 0)(rng)[-2:] for _ in range(9)} == {"AM"}
    assert clock(12, 12)(rng).startswith("12:")
    assert clock(12, 12)(rng).endswith("PM")
    assert clock(0, 0)(rng).startswith("12:")
    assert {number(2, 4)(rng) for _ in range(100)} == {"2", "3", "4"}
