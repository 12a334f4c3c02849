"""The project's own instruction records: seeded, in Dolly's format and category mix, some of them about the IoT."""

import random
from collections.abc import Callable, Iterator

from fedbench.instructions.synthetic_facts import (
    ADVICE,
    ANIMALS,
    CITIES,
    CLOTHES,
    DEVICES,
    DISHES,
    HOBBIES,
    HOME_ADVICE,
    PEOPLE,
    THEMES,
    TOOLS,
)  # fmt: skip
from fedbench.partition import largest_remainder

Record = dict[str, str]
Texts = tuple[str, str, str]

MIX = {
    "open_qa": 3742,
    "general_qa": 2191,
    "classification": 2136,
    "closed_qa": 1773,
    "brainstorming": 1766,
    "information_extraction": 1506,
    "summarization": 1188,
    "creative_writing": 709,
}
"""Records a category in Dolly 15k."""
IOT_SHARE = 0.3
REPEATS = 0.01
"""Share of records that repeat an earlier one word by word, as a few of Dolly's do."""


def generate(rows: int, seed: int) -> Iterator[Record]:
    """Yield `rows` records with the keys instruction, context, response and category; equal seeds, equal records."""
    rng = random.Random(f"synthetic dolly {seed}")
    total = sum(MIX.values())
    sizes = largest_remainder(rows, [count / total for count in MIX.values()])
    categories = [name for name, size in zip(MIX, sizes, strict=True) for _ in range(size)]
    rng.shuffle(categories)
    earlier: dict[str, Record] = {}
    for category in categories:
        if category in earlier and rng.random() < REPEATS:
            yield earlier[category]
            continue
        instruction, context, response = _MAKERS[category](rng, rng.random() < IOT_SHARE)
        record = {"instruction": instruction, "context": context, "response": response, "category": category}
        earlier[category] = record
        yield record


def _open_qa(rng: random.Random, iot: bool) -> Texts:
    question, answer = _fact(rng, iot)
    if rng.random() < 0.15:
        return question, "", answer
    second, more = _fact(rng, iot)
    if second == question:
        return question, "", answer
    link = rng.choice(["", "Also: ", "And then: ", f"{rng.choice(PEOPLE)} would like to know as well: "])
    return f"{question} {link}{second}", "", f"{answer} {more}"


def _fact(rng: random.Random, iot: bool) -> tuple[str, str]:
    """Return a question and its answer."""
    if iot:
        device, purpose, radio, kind = rng.choice(DEVICES)
        question, answer = rng.choice(
            [
                (f"What does a {device} do?", f"A {device} {purpose}."),
                (f"Which radio does a typical {device} use?", f"A {device} often talks over {radio}."),
                (f"Is a {device} a sensor or an actuator?", f"It is a kind of {kind}: it {purpose}."),
            ]
        )
    else:
        animal, family, home, food = rng.choice(ANIMALS)
        city, country, continent = rng.choice(CITIES)
        dish, main, verb, minutes = rng.choice(DISHES)
        question, answer = rng.choice(
            [
                (f"Where does the {animal} live?", f"The {animal}, a {family}, lives in or near {home}."),
                (f"What does a {animal} eat?", f"A {animal} eats mostly {food}."),
                (f"Which country has {city} as its capital?", f"{city} is the capital of {country} in {continent}."),
                (f"How long does {dish} take?", f"About {minutes} minutes: {verb} the {main} and season it."),
            ]
        )
    return question, answer


def _general_qa(rng: random.Random, iot: bool) -> Texts:
    person, hobby = rng.choice(PEOPLE), rng.choice(HOBBIES)
    if iot:
        one, two = rng.sample(DEVICES, 2)
        first, second = rng.sample(HOME_ADVICE, 2)
        question = rng.choice(
            [
                f"Should {person} buy a {one[0]} or a {two[0]} first for the smart home?",
                f"How do I use a {one[0]} together with a {two[0]}?",
                f"What should I know before I install a {one[0]} next to a {two[0]}?",
            ]
        )
        return question, "", f"A {one[0]} {one[1]}, a {two[0]} {two[1]}. In any case {first} and {second}."
    first, second = rng.sample(ADVICE, 2)
    question = rng.choice(
        [
            f"Why do people of {rng.choice(CITIES)[0]} enjoy {hobby}?",
            f"How can {person} get better at {hobby} in {rng.randint(2, 9)} hours a week?",
            f"Is {hobby} a good hobby for {person}, who likes {rng.choice(HOBBIES)}?",
            f"How expensive is {hobby} for {person}, and how does one begin at {rng.randint(9, 80)}?",
        ]
    )
    return question, "", f"Many people find {hobby} rewarding. It helps to {first} and to {second}."


def _classification(rng: random.Random, iot: bool) -> Texts:
    verb = rng.choice(["Classify", "Label", "Categorise"])
    if iot and rng.random() < 0.5:
        device, purpose, _, kind = rng.choice(DEVICES)
        detail = rng.choice(
            [
                "",
                f", which {purpose}",
                f" {rng.randint(10, 99)} of {rng.choice(PEOPLE)}",
                f" from batch {rng.randint(100, 999)}",
            ]
        )
        return f"{verb} this device as 'Sensor' or 'Actuator': {device}{detail}", "", f"{kind.capitalize()}"
    if iot:
        chosen = rng.sample(DEVICES, 4)
        names = ", ".join(entry[0] for entry in chosen)
        answer = "\n".join(f"{entry[0]}: {entry[3]}" for entry in chosen)
        return f"{verb} each of the following as a sensor or an actuator: {names}", "", answer
    if rng.random() < 0.3:
        animal, family, home, _ = rng.choice(ANIMALS)
        where = rng.choice(
            ["", f" seen near {home} by {rng.choice(PEOPLE)}", f" on photograph {rng.randint(100, 999)}"]
        )
        return (
            f"{verb} this animal as 'Mammal', 'Bird', 'Reptile' or 'Fish': {animal}{where}",
            "",
            family.capitalize(),
        )
    things = [(name, "tool") for name in rng.sample(TOOLS, 3)] + [(name, "clothing") for name in rng.sample(CLOTHES, 3)]
    rng.shuffle(things)
    names = ", ".join(name for name, _ in things)
    return f"{verb} each of these as a tool or clothing: {names}", "", "\n".join(f"{a}: {b}" for a, b in things)


def _passage(rng: random.Random, iot: bool) -> tuple[str, str, str, str]:
    """Return a passage, a question on it, the answer, and the gist."""
    person, year, count = rng.choice(PEOPLE), rng.randint(1952, 2023), rng.randint(3, 90)
    city, country, _ = rng.choice(CITIES)
    if iot:
        device, purpose, radio, _ = rng.choice(DEVICES)
        text = (
            f"In {year} {person} fitted {count} units of a {device} in a block of flats in {city}. Each one {purpose} "
            f"and talks to the hub over {radio}. After a month the network ran without a fault."
        )
        return (
            text,
            f"How many units of the {device} did {person} fit?",
            f"{count} units.",
            f"{person} fitted a {device} network in {city}.",
        )
    animal, family, home, food = rng.choice(ANIMALS)
    text = (
        f"In {year} {person} of {city} in {country} wrote a report on the {animal}, a {family} of {home}. It was seen "
        f"{count} times, and {food} made up most of what it ate."
    )
    return (
        text,
        f"Which {family} did {person} of {city} report on?",
        f"The {animal}.",
        f"{person} counted the {animal} {count} times in {year}.",
    )


def _closed_qa(rng: random.Random, iot: bool) -> Texts:
    text, question, answer, _ = _passage(rng, iot)
    return question, text, answer


def _extraction(rng: random.Random, iot: bool) -> Texts:
    text, question, answer, _ = _passage(rng, iot)
    name = text.split()[2]
    subject = question.rstrip("?").split(" did ")[0].lower()
    return (
        rng.choice(
            [
                f"Extract the year and the person from the text about {name}, and say {subject}.",
                f"From the passage, list the person, the year and {subject}, separated by commas ({name}).",
            ]
        ),
        text,
        f"{name}, {text.split()[1]}, {answer.rstrip('.')}",
    )


def _summarization(rng: random.Random, iot: bool) -> Texts:
    text, _, _, gist = _passage(rng, iot)
    name = text.split()[2]
    how = rng.choice(["Summarise", "Give me the gist of", "Shorten to one sentence"])
    return f"{how} this passage on the work of {name} in {text.split()[1]}.", text, gist


def _brainstorming(rng: random.Random, iot: bool) -> Texts:
    count, person = rng.choice([3, 4]), rng.choice(PEOPLE)
    if iot:
        device = rng.choice(DEVICES)[0]
        question = (
            f"Give {person} {count} ideas to make a home of {rng.randint(2, 9)} rooms with a {device} safer or cheaper."
        )
        ideas = rng.sample(HOME_ADVICE, count)
    else:
        hobby, weeks = rng.choice(HOBBIES), rng.randint(2, 9)
        question = f"List {count} tips for {person}, who wants to start with {hobby} within {weeks} weeks."
        ideas = rng.sample(ADVICE, count)
    return question, "", "\n".join(f"{number}. {idea.capitalize()}." for number, idea in enumerate(ideas, start=1))


def _creative_writing(rng: random.Random, iot: bool) -> Texts:
    person, theme, city = rng.choice(PEOPLE), rng.choice(THEMES), rng.choice(CITIES)[0]
    form = rng.choice(["a short story", "a poem", "a letter"])
    answer = f"That evening in {city}, {person} met {theme}. Nobody believed it, and so it was written down."
    return f"Write {form} in which {person} meets {theme} in {city}.", "", answer


_MAKERS: dict[str, Callable[[random.Random, bool], Texts]] = {
    "open_qa": _open_qa,
    "general_qa": _general_qa,
    "classification": _classification,
    "closed_qa": _closed_qa,
    "brainstorming": _brainstorming,
    "information_extraction": _extraction,
    "summarization": _summarization,
    "creative_writing": _creative_writing,
}
