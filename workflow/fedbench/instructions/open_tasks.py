"""Smart-home tasks with a free answer: JSON routines, extraction from logs, advice, explanation, summaries."""

import json
from collections.abc import Callable, Mapping

from fedbench.instructions.grammar import Filler

SERVICES = [
    ("switch on the {colour} lamp in the {room2}", "light.turn_on", "{room2} lamp"),
    ("close the blinds of the {room2}", "cover.close", "{room2} blinds"),
    ("lock the {room2} door", "lock.lock", "{room2} door"),
    ("start the {appliance}", "switch.turn_on", "{appliance}"),
    ("set the {room2} thermostat to {some} degrees", "climate.set_temperature", "{room2} thermostat"),
    ("stop the {appliance}", "switch.turn_off", "{appliance}"),
    ("play soft music on the {room2} speaker", "media_player.play", "{room2} speaker"),
    ("send {person2} a message", "notify.send", "{person2}"),
    ("arm the alarm of the {room2}", "alarm.arm", "{room2} alarm"),
    ("open the {room2} vent", "cover.open", "{room2} vent"),
]
TRIGGERS = [
    ("{person} leaves for {errand}", "person.leaves", "{person}"),
    ("the {room} motion sensor sees nobody for {some} minutes", "motion.clear", "{room} sensor"),
    ("it is {time} on {weekday}", "clock", "{weekday} {time}"),
    ("the {room} window is opened during {weather}", "window.opened", "{room} window"),
    ("leak detector {serial} in the {room} gets wet", "leak.wet", "detector {serial}"),
    ("{family} come back to {place}", "group.arrives", "{family}"),
    ("the {room} gets darker than {many} lux", "light_level.below", "{room} sensor"),
    ("somebody rings at {room} doorbell {serial}", "doorbell.pressed", "doorbell {serial}"),
]
CAUSES = [
    (
        "loses its connection whenever {person} runs the microwave oven",
        "both use the 2.4 GHz band",
        "move it to another channel or closer to the access point",
    ),
    (
        "reports motion in the {room} during {weather} with nobody there",
        "moving warm air deceives its infrared eye",
        "turn it away from windows and vents",
    ),
    (
        "empties its battery within {some} days",
        "a weak mesh link makes it send everything again and again",
        "add a powered repeater near the {room}",
    ),
    (
        "answers {few} seconds late each {weekday}",
        "every command takes the way through the cloud",
        "let hub {serial} run the automation locally",
    ),
    (
        "shows {few} degrees more than the wall thermometer",
        "it hangs above a warm {appliance}",
        "mount it on an inner wall of the {room}",
    ),
    (
        "forgets its schedule after each power cut",
        "its clock has no buffer battery",
        "let hub {serial} keep the schedule and send it again",
    ),
]
NEEDS = [
    "wants to save energy while {errand} takes half the day",
    "works nights and sleeps until {time}",
    "often forgets the {appliance} in the {room}",
    "uses a wheelchair and cannot reach the {room} switches",
    "hears badly and misses the doorbell of {place}",
    "has {pet} that stays alone in the {room}",
    "likes {doing} late without waking {family}",
    "fears a frozen pipe in the {room} when there is {weather}",
]
IDEAS = [
    "let a motion sensor in the {room} switch the {colour} lamps off after {few} minutes",
    "have plug {serial} cut the power of the {appliance} at {time}",
    "send {person} a message when the {room} door stays open longer than {some} seconds",
    "open the blinds slowly at {time} on {weekday}",
    "flash the {room} lamps {colour} when somebody rings",
    "lower the {room} heating by {few} degrees while nobody is in",
    "read reminders aloud on the {room2} speaker",
    "close the main water valve when a leak is found beside the {appliance}",
]
EVENTS = [
    "{time} {room} door opened by {person}", "{time} {appliance} started in {room2}",
    "{time} {room} lamp set to {colour}", "{time} sensor {serial} measured {some} percent humidity",
    "{time} doorbell {serial} rang {few} times", "{time} {person2} armed the {room2} alarm",
    "{time} robot vacuum docked after {some} minutes", "{time} hub {serial} renewed its certificate",
]  # fmt: skip


def _routine(filler: Filler) -> tuple[str, str]:
    rng = filler.rng
    trigger, event, subject = rng.choice(TRIGGERS)
    action, service, target = rng.choice(SERVICES)
    frame = rng.choice(
        [
            "Write a JSON routine: when {trigger}, {action}.",
            "Define an automation as JSON that will {action} as soon as {trigger}.",
            "{trigger}: {action}. Give me this as a JSON routine with trigger and action.",
            "{person3} asks the hub to {action} if {trigger}. Answer with the JSON for it.",
        ]
    )
    instruction = frame.replace("{trigger}", trigger).replace("{action}", action)
    answer = {
        "trigger": {"event": event, "subject": filler.fill(subject)},
        "action": {"service": service, "target": filler.fill(target)},
    }
    return filler.fill(instruction), json.dumps(answer, ensure_ascii=False)


def _extraction(filler: Filler) -> tuple[str, str]:
    frame = filler.rng.choice(
        [
            "Extract device, room and value as JSON from this log: at {time} {serial} in the {room} measured {some}.",
            "Which device, room and value does {person}'s note name? On {weekday}, {serial} showed {some} for the "
            "{room}. Reply in JSON.",
            "Make JSON with the keys device, room, value: {room} / {serial} / {some}, seen by {person} in {weather}.",
            "{person} wrote down: {some} from {serial}, in the {room} of {place}. Give device, room and value as JSON.",
        ]
    )
    instruction = filler.fill(frame)
    values = {"device": filler.fill("{serial}"), "room": filler.fill("{room}"), "value": int(filler.fill("{some}"))}
    return instruction, json.dumps(values)


def _explanation(filler: Filler) -> tuple[str, str]:
    symptom, cause, cure = filler.rng.choice(CAUSES)
    frame = filler.rng.choice(
        [
            "{person2}'s {device} {symptom}. What is the likely cause?",
            "Explain to {person2} why the {device} {symptom} and what helps.",
            "In {place}, a {device} {symptom}. How can {person2} mend that?",
        ]
    )
    device = filler.rng.choice(["motion sensor", "smart plug", "thermostat", "bulb", "leak detector", "door contact"])
    instruction = filler.fill(frame.replace("{symptom}", symptom).replace("{device}", device))
    return instruction, filler.fill(f"Most likely {cause}. To mend it, {cure}.")


def _ideas(filler: Filler) -> tuple[str, str]:
    frame = filler.rng.choice(
        [
            "{person} {need}. Suggest two automations for {place}.",
            "What could a smart home in {place} do for {person}, who {need}? Name two routines.",
            "Give two ideas with sensors or plugs for somebody who {need} in {place}.",
        ]
    )
    instruction = filler.fill(frame.replace("{need}", filler.rng.choice(NEEDS)))
    first, second = (filler.fill(idea) for idea in filler.rng.sample(IDEAS, 2))
    return instruction, f"1. {first[0].upper()}{first[1:]}.\n2. {second[0].upper()}{second[1:]}."


def _summary(filler: Filler) -> tuple[str, str]:
    lines = []
    for minute, event in zip(sorted(filler.rng.sample(range(360, 1380), 3)), filler.rng.sample(EVENTS, 3), strict=True):
        line = Filler(filler.vocabulary, filler.rng)
        line.values["{time}"] = f"{minute // 60:02d}:{minute % 60:02d}"
        lines.append(line.fill(event))
    frame = filler.rng.choice(
        [
            "Summarise these home events of {weekday} in one sentence: <events>.",
            "What happened in {place}? Summarise for {person}: <events>.",
            "<events>. Put this log into one sentence for {person}.",
        ]
    )
    happened = [line.split(" ", 1)[1] for line in lines]
    response = f"Three things happened: {happened[0]}, {happened[1]}, and {happened[2]}."
    return filler.fill(frame).replace("<events>", "; ".join(lines)), response


OPEN_TASKS: Mapping[str, Callable[[Filler], tuple[str, str]]] = {
    "routine_definition": _routine,
    "log_extraction": _extraction,
    "fault_explanation": _explanation,
    "automation_ideas": _ideas,
    "event_summary": _summary,
}
"""Maker of (instruction, response) by category."""
