"""Closed-label templates of the smart home: cases whose label follows from their words, and the reason for it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A classification task: `noun` names what is classified; `cases` and `reasons` are templates by label."""

    category: str
    noun: str
    cases: dict[str, list[str]]
    reasons: dict[str, str]

    @property
    def labels(self) -> list[str]:
        """The closed label set."""
        return list(self.cases)


FRAMES = [
    "{case} Classify this {noun} as {options} and explain why.",
    "Classify the following {noun} as {options}. {case}",
    "{case} Is this {noun} {options}? Start with the label.",
    "Label the {noun} {options}, then give a reason. {case}",
    "{case} Which label fits: {options}?",
    "Choose {options} for this {noun}. {case}",
    "Read the {noun} and answer with {options} first. {case}",
    "{case} Decide between {options} and justify it briefly.",
    "{background} {case} Classify this {noun} as {options}.",
    "{background} {case} Would you call it {options}?",
    "Classify as {options}. {background} {case}",
]
"""Ways to ask; {options} is the quoted label set."""

QUESTIONS = [
    Question(
        "anomaly_detection",
        "event",
        {
            "Normal": [
                "The motion sensor in the {room} notices {person} {doing} at {day}.",
                "{person} opens the {room} door with the usual code at {day} after {errand}.",
                "At {day} the {room} camera recognises {person} {doing}.",
                "The {appliance} in the {room} starts at {day}, exactly as {person} scheduled it.",
                "The freezer beside the {room} stays at -18 C all {weekday}, says probe {serial}.",
                "Water runs in the {room} for {few} minutes at {day} while {person} takes a shower.",
                "Plug {serial} reports the usual {some} watts from the {appliance} at {day}.",
                "{person} comes home from {errand} and the {room} lights go on at {day} as planned.",
            ],
            "Anomaly": [
                "The motion sensor in the {room} notices movement at {night} while {family} are asleep.",
                "{person} is away on {errand}, yet the {room} door opens at {night}.",
                "At {night} the {room} camera sees a stranger {intruder}.",
                "The {appliance} in the {room} switches itself on at {night} although {person} scheduled nothing.",
                "The freezer beside the {room} warms up to {some} C on {weekday}, says probe {serial}.",
                "Water runs in the {room} for {few} hours at {night} with nobody at home.",
                "Plug {serial} reports {many} watts, ten times the usual, from the {appliance} at {night}.",
                "A window in the {room} breaks at {night}; the camera shows somebody {intruder}.",
            ],
        },
        {
            "Normal": "This is expected daily behaviour of the home.",
            "Anomaly": "This is outside expected behaviour and suggests an intrusion or a fault.",
        },
    ),
    Question(
        "severity",
        "alert",
        {
            "Low": [
                "Device {serial} in the {room} has a firmware update available for {weekday}.",
                "The {room} bulb was renamed to {colour} lamp by {person} at {time}.",
                "Weekly report {serial} is ready for {person} to read.",
                "The robot vacuum in the {room} finished cleaning after {some} minutes.",
                "A reminder: {person} may dust the {room} sensor {serial} some {weekday}.",
                "The filter of the {room} purifier is {some} days from its yearly change.",
            ],
            "Medium": [
                "Sensor {serial} in the {room} went offline at {time} and has not reconnected.",
                "The battery of the {room} lock is nearly empty, {person} should replace it.",
                "{few} failed logins were seen on the account of {person} on {weekday}.",
                "The {room} hub lost its connection {few} times since {time}.",
                "Camera {serial} dropped frames and its storage is nearly full.",
                "The {appliance} in the {room} uses more power than last {weekday}; its door seal is worn.",
            ],
            "High": [
                "Smoke fills the {room} and detector {serial} sounds at {time}.",
                "Carbon monoxide of {many} ppm is measured in the {room} near {person}.",
                "Flames are seen beside the {appliance} in the {room} at {time}.",
                "Gas is leaking in the {room}, sensor {serial} warns {person}.",
                "Water floods the {room} since {time} and reaches the fuse box.",
                "An intruder broke the {room} window at {night} and is {intruder}.",
            ],
        },
        {
            "Low": "It is routine information and nobody has to hurry.",
            "Medium": "A device needs attention soon, but nobody is in danger.",
            "High": "People or the building are in danger right now.",
        },
    ),
    Question(
        "intent",
        "request",
        {
            "Lighting": [
                "{person} says: dim the {colour} lamps in the {room} at {time}.",
                "Make the {room} brighter, the bulbs are too dark for {doing}.",
                "Switch off every light between the {room} and the {room2} after {time}.",
                "{person} wants {colour} lamps along the {room} during {weekday} dinner.",
                "Let the {room} bulbs fade slowly when {person} falls asleep.",
            ],
            "Climate": [
                "{person} says: it is freezing in the {room}, warm it to {some} degrees.",
                "Cool the {room} down before {person} returns from {errand}.",
                "Set the thermostat of the {room} {few} degrees lower at {time}.",
                "The air in the {room} is stuffy and humid on {weekday}, run the fan.",
                "Heat the {room} and the {room2} until {time}, {weather} is coming.",
            ],
            "Security": [
                "{person} says: lock the {room} door and arm the alarm at {time}.",
                "Check that no window near the {room} is unlocked while we are out for {errand}.",
                "Arm the alarm on {weekday} once {family} have left {place}.",
                "Lock up the {room}, {person} heard a stranger outside at {time}.",
                "Give {person} a guest code for the {room} lock until {weekday}.",
            ],
            "Entertainment": [
                "{person} says: play jazz on the {room} speaker at {time}.",
                "Turn the music in the {room} up by {few} steps, I am {doing}.",
                "Pause the film in the {room} and resume it in the {room2}.",
                "Find a podcast about {errand} for {person} and play it on {weekday}.",
                "Put the football match on the {room} television for {family}.",
            ],
        },
        {
            "Lighting": "The request is about lamps.",
            "Climate": "The request is about temperature or air.",
            "Security": "The request is about locks or alarms.",
            "Entertainment": "The request is about music, films or shows.",
        },
    ),
    Question(
        "device_type",
        "device",
        {
            "Camera": [
                "Unit {serial} in the {room} records video of {person} and sends pictures at {time}.",
                "It has a lens, films the {room} at {some} frames a second and stores {few} days of video.",
                "{person} watches its video stream of the {room} while {errand} goes on.",
                "Above the {room} it takes pictures when {family} pass and blurs faces.",
            ],
            "Thermostat": [
                "Unit {serial} in the {room} measures temperature and starts the heating at {time}.",
                "It keeps the {room} at {some} degrees and lowers the heating for {person} each {weekday}.",
                "{person} turns its dial in the {room} to raise the temperature after {errand}.",
                "From the {room} wall it controls the boiler and learns when {family} feel cold.",
            ],
            "Lock": [
                "Unit {serial} on the {room} door slides a bolt when {person} enters a code at {time}.",
                "It keeps the {room} door shut, moves a bolt and accepts {few} keys.",
                "{person} opens its bolt by phone for a guest who waits at the {room} during {errand}.",
                "Fitted to the {room} door, it checks a code before {family} come in.",
            ],
            "Speaker": [
                "Unit {serial} in the {room} plays music and hears the voice of {person} at {time}.",
                "It answers spoken questions in the {room} and plays {few} radio stations.",
                "{person} asks it aloud for music in the {room} while {doing}.",
                "On the {room} shelf it reads the news aloud to {family} with a clear voice.",
            ],
        },
        {
            "Camera": "It films what happens.",
            "Thermostat": "It controls heating by temperature.",
            "Lock": "It bolts a door.",
            "Speaker": "It plays sound and listens.",
        },
    ),
    Question(
        "log_source",
        "log line",
        {
            "Router": [
                "{time} dhcp lease {address} granted to host {serial}, wan link up.",
                "{time} wan packet from {external} port {many} dropped, nat table {some} percent.",
                "{weekday} wifi channel {few} busy, dns query of {address} forwarded to {external}.",
                "wan restart on {weekday}: {some} dhcp clients kept, {address} renewed by {person}.",
            ],
            "Thermostat": [
                "{time} setpoint {some} C, room {room}, heating valve {few} open.",
                "{weekday} heating schedule of {person} loaded, setpoint lowered in {room} by {few}.",
                "{time} boiler on for {some} min, {room} humidity {some2}, valve {serial}.",
                "valve calibration {serial}: {room} setpoint kept, heating idle since {weekday}.",
            ],
            "Doorbell": [
                "{time} button pressed at {room} door, chime {few} played, visitor clip {serial}.",
                "{weekday} visitor at {room} entrance, chime muted by {person}.",
                "{time} chime battery {some} percent, button {serial} pressed {few} times.",
                "ring from visitor, {person} answered the {room} button after {some} s on {weekday}.",
            ],
        },
        {
            "Router": "The line speaks of network traffic.",
            "Thermostat": "The line speaks of heating.",
            "Doorbell": "The line speaks of a visitor at the door.",
        },
    ),
]
