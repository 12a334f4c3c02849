"""The seed tasks of Self-Instruct, one a category, in this project's own words."""

from fedbench.instructions.teacher import QUESTIONS, Task, options


def _question(category: str, label: str, case: str, reason: str) -> Task:
    labels = QUESTIONS[category].labels
    instruction = f"{case} Classify this {QUESTIONS[category].noun} as {options(labels)} and explain why."
    return Task(instruction, f"{label}. {reason}", category, label=label, labels=tuple(labels))


SEED_TASKS: list[Task] = [
    # The example record of Edge-FIT, section III-B, reworded.
    _question(
        "anomaly_detection",
        "Anomaly",
        "A motion sensor reports activity in the living room at 3:00 AM.",
        "Nobody is usually awake at that hour, so it may be an intruder or a faulty sensor.",
    ),
    _question(
        "anomaly_detection",
        "Normal",
        "The hall light turns on at 6:45 PM when the first resident returns from work.",
        "Coming home in the evening is part of the daily pattern.",
    ),
    _question(
        "severity",
        "High",
        "The carbon monoxide detector beside the boiler sounds its alarm.",
        "The gas is deadly, so people must leave at once.",
    ),
    _question("intent", "Climate", "Could you make the bedroom a bit warmer?", "The user asks for heating."),
    _question(
        "device_type",
        "Lock",
        "It turns a bolt in the front door when a valid code is typed.",
        "Turning a bolt by code is what a smart lock does.",
    ),
    _question(
        "log_source", "Router", "dhcp: offered an address to a new wireless client.", "Routers hand out addresses."
    ),
    _question(
        "traffic",
        "Malicious",
        "A light bulb tries to log in by telnet on hundreds of foreign addresses.",
        "A bulb has no reason to do that; it looks like a botnet.",
    ),
    _question(
        "access_control",
        "Deny",
        "An unknown phone asks to open the garage with a code that expired.",
        "Neither the phone nor the code is valid.",
    ),
    _question(
        "energy_use",
        "Wasteful",
        "The radiator is at full power although the window above it has been open since noon.",
        "The heat escapes without warming anybody.",
    ),
    _question("air_quality", "Poor", "The nursery monitor shows stale air after a night with shut windows.",
              "Stale air should be renewed."),
    _question("battery", "Replace", "The window contact warns that its cell is nearly dead.",
              "Soon it would stop reporting."),
    _question("occupancy", "Empty", "Since everybody drove off, no sensor has noticed a movement.",
              "No movement means nobody is at home."),
    _question("privacy", "Personal", "A recording of what the children say to the speaker.",
              "Voices identify people."),
    _question("utterance", "Question", "Is the oven still on?", "The speaker asks for a state."),
    Task(
        "Write a JSON routine: when the last person leaves, switch off all lights.",
        '{"trigger": {"event": "group.leaves", "subject": "everyone"}, '
        '"action": {"service": "light.turn_off", "target": "all lights"}}',
        "routine_definition",
    ),
    Task(
        "Extract device, room and value as JSON from this log: 08:15 thermometer T2, bathroom, 23.",
        '{"device": "T2", "room": "bathroom", "value": 23}',
        "log_extraction",
    ),
    Task(
        "Why does my outdoor camera drop its connection on rainy days?",
        "Wet walls and leaves weaken the radio signal. To mend it, put an access point nearer to the camera.",
        "fault_explanation",
    ),
    Task(
        "Suggest two automations for somebody who often forgets to close windows.",
        "1. Send a message when a window is open and rain is forecast.\n2. Turn the heating off while one is open.",
        "automation_ideas",
    ),
    Task(
        "Summarise these home events in one sentence: 7:00 AM blinds opened; 7:05 AM coffee maker started.",
        "The morning began with the blinds and the coffee maker.",
        "event_summary",
    ),
]  # fmt: skip
"""Edge-FIT gives a single example; the number and kind of seed tasks are a choice of this benchmark."""
