"""The seed tasks of Self-Instruct in this project's own words: one for each label of each category, or two if open."""

from fedbench.instructions.teacher import QUESTIONS, Task, question


def _question(category: str, label: str, case: str, reason: str) -> Task:
    labels = tuple(QUESTIONS[category].labels)
    return Task(f"{case}{question(category)}", f"{label}. {reason}", category, label=label, labels=labels, case=case)


SEED_TASKS: list[Task] = [
    # The example record of Edge-FIT, section III-B, reworded.
    _question("anomaly_detection", "Anomaly", "A motion sensor reports activity in the living room at 3:00 AM.",
              "Nobody is usually awake at that hour, so it may be an intruder or a faulty sensor."),
    _question("anomaly_detection", "Normal",
              "The hall light turns on at 6:45 PM when the first resident returns from work.",
              "Coming home in the evening is part of the daily pattern."),
    _question("severity", "High", "The carbon monoxide detector beside the boiler sounds its alarm.",
              "The gas is deadly, so people must leave at once."),
    _question("severity", "Medium", "The rain sensor of the greenhouse has not reported since yesterday.",
              "Somebody should look at it, but nobody is in danger."),
    _question("severity", "Low", "The monthly summary of the solar panels can be downloaded.",
              "Nothing has to be done about it."),
    _question("intent", "Climate", "Could you make the bedroom a bit warmer?", "The user asks for heating."),
    _question("intent", "Lighting", "I can hardly see the stairs after sunset.", "More light would help."),
    _question("intent", "Security", "Nobody should get in through the back gate tonight.",
              "The user wants the gate shut and guarded."),
    _question("intent", "Entertainment", "Put on something cheerful while we cook.", "The user wants to hear music."),
    _question("device_type", "Lock", "It turns a bolt in the front door when a valid code is typed.",
              "Turning a bolt by code is what a smart lock does."),
    _question("device_type", "Camera", "It films the driveway and keeps the clips for a week.",
              "Filming is what a camera does."),
    _question("device_type", "Thermostat", "At dawn it warms the flat to 20 degrees, at night it stops the boiler.",
              "It controls heating."),
    _question("device_type", "Speaker", "When somebody asks, it tells the news aloud.", "It talks to people."),
    _question("log_source", "Router", "dhcp: offered an address to a new wireless client.",
              "Routers hand out addresses."),
    _question("log_source", "Thermostat", "study 19.5 C, setpoint 21 C, valve opened to 40 percent.",
              "A setpoint and a valve belong to heating."),
    _question("log_source", "Doorbell", "button pressed once, chime played, picture of the visitor stored.",
              "Somebody rang."),
    _question("traffic", "Malicious", "A light bulb tries to log in by telnet on hundreds of foreign addresses.",
              "A bulb has no reason to do that; it looks like a botnet."),
    _question("traffic", "Benign", "The weather station sends a reading to its maker once an hour.",
              "That is what it was bought for."),
    _question("access_control", "Deny", "An unknown phone asks to open the garage with a code that expired.",
              "Neither the phone nor the code is valid."),
    _question("access_control", "Allow", "On Tuesday at ten the cleaner types her own code, as agreed.",
              "She is known and her code counts at that hour."),
    _question("energy_use", "Wasteful",
              "The radiator is at full power although the window above it has been open since noon.",
              "The heat escapes without warming anybody."),
    _question("energy_use", "Efficient", "The full dishwasher waits for the sunny hours and runs on the roof's power.",
              "It uses power that is there anyway."),
    _question("air_quality", "Poor", "The nursery monitor shows stale air after a night with shut windows.",
              "Stale air should be renewed."),
    _question("air_quality", "Good", "With two windows open, the classroom sensor counts 480 ppm of carbon dioxide.",
              "That is hardly more than outdoors."),
    _question("battery", "Replace", "The window contact warns that its cell is nearly dead.",
              "Soon it would stop reporting."),
    _question("battery", "Keep", "A self-test of the smoke detector found 96 percent charge.",
              "That lasts for years."),
    _question("occupancy", "Empty", "Since everybody drove off, no sensor has noticed a movement.",
              "No movement means nobody is at home."),
    _question("occupancy", "Occupied", "The kettle boils and steps are heard in the kitchen.",
              "Somebody makes tea."),
    _question("privacy", "Personal", "A recording of what the children say to the speaker.",
              "Voices identify people."),
    _question("privacy", "Harmless", "The water level of the garden pond.", "A pond says nothing about people."),
    _question("utterance", "Question", "Is the oven still on?", "The speaker asks for a state."),
    _question("utterance", "Command", "Turn the radio in the workshop down a little.",
              "The speaker wants it quieter."),
    Task(
        "Write a JSON routine: when the last person leaves, switch off all lights.",
        '{"trigger": {"event": "group.leaves", "subject": "everyone"}, '
        '"action": {"service": "light.turn_off", "target": "all lights"}}',
        "routine_definition",
    ),
    Task(
        "At sunset the blinds of the study shall close. Give this as a JSON routine with trigger and action.",
        '{"trigger": {"event": "sun.sets", "subject": "sun"}, '
        '"action": {"service": "cover.close", "target": "study blinds"}}',
        "routine_definition",
    ),
    Task(
        "Extract device, room and value as JSON from this log: 08:15 thermometer T2, bathroom, 23.",
        '{"device": "T2", "room": "bathroom", "value": 23}',
        "log_extraction",
    ),
    Task(
        "Plug P7 beside the hob of the kitchen drew 640 watts at noon. Give device, room and value in JSON.",
        '{"device": "P7", "room": "kitchen", "value": 640}',
        "log_extraction",
    ),
    Task(
        "Why does my outdoor camera drop its connection on rainy days?",
        "Wet walls and leaves weaken the radio signal. To mend it, put an access point nearer to the camera.",
        "fault_explanation",
    ),
    Task(
        "The blinds stop halfway and open again. What may be wrong?",
        "Something blocks the rail, so the motor protects itself. Clear the rail and let them find their end.",
        "fault_explanation",
    ),
    Task(
        "Suggest two automations for somebody who often forgets to close windows.",
        "1. Send a message when a window is open and rain is forecast.\n2. Turn the heating off while one is open.",
        "automation_ideas",
    ),
    Task(
        "Our baby sleeps lightly. Name two routines that would keep the flat quiet.",
        "1. Mute the doorbell and send its rings to a phone.\n2. Let the robot vacuum wait until the cot is empty.",
        "automation_ideas",
    ),
    Task(
        "Summarise these home events in one sentence: 7:00 AM blinds opened; 7:05 AM coffee maker started.",
        "The morning began with the blinds and the coffee maker.",
        "event_summary",
    ),
    Task(
        "22:40 television off; 22:45 front door locked; 22:50 bedroom lamp off. Put this into one sentence.",
        "The household locked up and went to bed shortly before eleven.",
        "event_summary",
    ),
]  # fmt: skip
"""Edge-FIT gives a single example; the number and kind of seed tasks are a choice of this benchmark."""
