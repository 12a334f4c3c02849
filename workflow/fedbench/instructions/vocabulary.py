"""Word lists of the smart home, for the template teacher."""

import random

from fedbench.instructions.grammar import Choice, clock, number


def _address(rng: random.Random) -> str:
    return f"10.0.{rng.randint(0, 9)}.{rng.randint(2, 250)}"


def _external(rng: random.Random) -> str:
    return f"{rng.choice((198, 203))}.{rng.randint(18, 113)}.{rng.randint(1, 250)}.{rng.randint(1, 250)}"


def _serial(rng: random.Random) -> str:
    return f"{''.join(rng.choices('BCDFGHKLMNPRSTVWXZ', k=2))}{rng.randint(100, 999)}"


HOME: dict[str, Choice] = {
    "room": [
        "living room", "kitchen", "hallway", "garage", "nursery", "home office", "basement", "guest bedroom",
        "laundry room", "dining room", "attic", "main bedroom", "sunroom", "pantry", "workshop", "conservatory",
        "stairwell", "playroom", "utility closet", "cloakroom", "library", "wine cellar", "music room", "back porch",
    ],
    "person": [
        "Priya", "Tomas", "Aisha", "Greta", "Kenji", "Lucia", "Omar", "Fiona", "Mateo", "Ingrid", "Chidi", "Yara",
        "Sven", "Noor", "Pavel", "Hana", "Rosa", "Dmitri", "Leila", "Jonas", "grandmother Elsa", "uncle Bram",
    ],
    "family": [
        "two retired teachers", "a family of four", "three flatmates", "a young couple with a baby", "the night nurse",
        "both grandparents", "the exchange students", "the owners", "everyone", "all five residents", "the tenant",
    ],
    "pet": ["a cat", "an old dog", "two rabbits", "a parrot", "no pets", "a puppy", "an aquarium", "a tortoise"],
    "place": [
        "a terraced house", "a farmhouse", "a third-floor flat", "a lakeside cabin", "a bungalow", "a loft",
        "a shared villa", "a houseboat", "a townhouse", "a chalet", "a student residence", "a converted barn",
    ],
    "weather": ["rain", "frost", "fog", "a heatwave", "strong wind", "snow", "drizzle", "a thunderstorm", "mild sun"],
    "weekday": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "night": clock(1, 4),
    "day": clock(9, 18),
    "time": clock(6, 22),
    "appliance": [
        "washing machine", "dishwasher", "coffee maker", "television", "tumble dryer", "space heater", "rice cooker",
        "dehumidifier", "aquarium pump", "treadmill", "electric kettle", "slow cooker", "robot vacuum", "oven",
    ],
    "few": number(2, 9),
    "some": number(11, 59),
    "many": number(120, 980),
    "count": ["two", "three", "four", "five", "six"],
    "colour": ["amber", "blue", "crimson", "green", "violet", "white", "orange", "turquoise"],
    "serial": _serial,
    "address": _address,
    "external": _external,
    "errand": [
        "walking the dog", "a swim", "buying groceries", "the school run", "a dentist visit", "football practice",
        "choir rehearsal", "jogging", "a shift at the bakery", "visiting neighbours", "posting a parcel",
    ],
    "doing": [
        "watering the plants", "folding laundry", "reading a novel", "cooking lentil soup", "playing the piano",
        "repairing a bicycle", "practising yoga", "painting a shelf", "feeding the cat", "building a puzzle",
        "sorting old photographs", "baking bread", "ironing shirts", "tuning a guitar",
    ],
    "intruder": [
        "forcing the latch", "crouching behind the sofa", "carrying a crowbar", "covering the lens",
        "searching the drawers", "climbing through the frame", "wearing a dark mask", "shining a torch around",
    ],
    "background": [
        "The home is {place} with {pet}.",
        "Outside there is {weather} this {weekday}.",
        "{person9} set the system up in {place}.",
        "Hub {serial9} manages {count9} rooms.",
        "The household is {family9} with {pet}.",
        "Firmware was renewed last {weekday}.",
        "Report {serial9} covers {place}.",
        "It is {weekday}, with {weather} over the town.",
    ],
}
