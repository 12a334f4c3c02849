"""Further closed-label templates: network, access, energy, air, batteries, presence, privacy and form of request."""

from fedbench.instructions.classification import Question

QUESTIONS = [
    Question(
        "traffic",
        "connection",
        {
            "Benign": [
                "Bulb {serial} asks its vendor at {external} for the time once at {time}.",
                "The {room} thermostat sends {few} kilobytes of readings to hub {address}.",
                "Speaker {serial} streams music from a known radio server for {person} at {time}.",
                "The {appliance} in the {room} fetches a signed update from its vendor on {weekday}.",
                "The phone of {person} opens the app and reads {few} values from hub {address}.",
            ],
            "Malicious": [
                "Bulb {serial} scans {many} telnet ports of {external} at {time}.",
                "The {room} camera tries {many} default passwords on host {address}.",
                "Plug {serial} floods {external} with {many} thousand empty packets on {weekday}.",
                "The {appliance} in the {room} downloads a botnet binary from {external} and runs it.",
                "Device {address} beacons to a command server at {external} every {some} seconds.",
            ],
        },
        {
            "Benign": "The device only does what it was bought for.",
            "Malicious": "The device attacks others or obeys an attacker.",
        },
    ),
    Question(
        "access_control",
        "access request",
        {
            "Allow": [
                "{person}, a resident, asks at {time} to open the {room} door with a valid code.",
                "The registered phone of {person} wants to read {room} sensor {serial}.",
                "A cleaner with a valid pass for {weekday} knocks at the {room} at {day}.",
                "{person} confirms with a known fingerprint and wants to start the {appliance}.",
                "The owner {person} returns from {errand} and signs in with a valid token {serial}.",
            ],
            "Deny": [
                "An unknown caller asks at {time} to open the {room} door with a wrong code.",
                "A stolen phone, once of {person}, wants to read {room} sensor {serial}.",
                "A courier with an expired pass for {weekday} knocks at the {room} at {day}.",
                "Somebody with an unknown fingerprint wants to start the {appliance} of {person}.",
                "Guest {serial}, blocked by {person} after {errand}, signs in with an expired token.",
            ],
        },
        {
            "Allow": "The requester is known and the credential is valid.",
            "Deny": "The requester is unknown or the credential no longer counts.",
        },
    ),
    Question(
        "energy_use",
        "situation",
        {
            "Efficient": [
                "The {room} heating turns off as soon as {person} opens the window at {time}.",
                "Lamps in the {room} go out {few} minutes after {family} leave.",
                "The {appliance} waits for solar power and runs full at {day}.",
                "Blinds of the {room} close against {weather} so that no cooling is needed on {weekday}.",
                "{person} lets plug {serial} cut standby power of the {appliance} each night.",
            ],
            "Wasteful": [
                "The {room} heating runs at full power beside a window that {person} left open at {time}.",
                "Lamps in the empty {room} burn for {some} hours while {family} are abroad.",
                "The {appliance} runs half empty {few} times a day at the highest price.",
                "Heating and cooling fight each other in the {room} all {weekday}, whatever the weather.",
                "{person} leaves the {appliance} on plug {serial} idling empty each night.",
            ],
        },
        {
            "Efficient": "Power is used only where it serves somebody.",
            "Wasteful": "Power is spent and serves nobody.",
        },
    ),
    Question(
        "air_quality",
        "reading",
        {
            "Good": [
                "Fresh air in the {room} at {time}: windows open, carbon dioxide 4{some} ppm.",
                "Monitor {serial} shows clean, fresh air near {person}, who is {doing}.",
                "After {errand}, {person} finds the {room} fresh, dust at {few} micrograms.",
                "On {weekday} the {room} of {place} smells fresh and the purifier rests.",
            ],
            "Poor": [
                "Stale air in the {room} at {time}: windows shut, carbon dioxide 2{some}0 ppm.",
                "Monitor {serial} shows thick dust and fumes near {person}, who is {doing}.",
                "After {errand}, {person} finds the {room} stale, dust at {many} micrograms.",
                "On {weekday} the {room} of {place} is stale with fumes and the purifier alarms.",
            ],
        },
        {
            "Good": "The air is fresh and clean.",
            "Poor": "The air is stale or full of fumes and should be renewed.",
        },
    ),
    Question(
        "battery",
        "device status",
        {
            "Replace": [
                "Cell of sensor {serial} in the {room}: {few} percent left, voltage low since {weekday}.",
                "The {room} remote of {person} works only now and then, its battery is nearly dead.",
                "Low battery warning from lock {serial} at {time}, the motor turns slowly.",
                "The leak detector under the {appliance} chirps: battery low, says {person}.",
            ],
            "Keep": [
                "Cell of sensor {serial} in the {room}: 9{few} percent left, voltage full since {weekday}.",
                "The {room} remote of {person} works at once, its battery is new.",
                "Full battery report from lock {serial} at {time}, the motor turns fast.",
                "The leak detector under the {appliance} is silent: battery full, says {person}.",
            ],
        },
        {"Replace": "The battery is almost empty.", "Keep": "The battery is still full."},
    ),
    Question(
        "occupancy",
        "observation",
        {
            "Occupied": [
                "In the {room} radar {serial} counts {count} people breathing at {time}.",
                "{person} is {doing} in the {room} and talks to {person2}.",
                "Voices and footsteps of {family} are heard from the {room} on {weekday}.",
                "The {room} chair sensor feels {person} sitting since {time}, the {appliance} hums.",
            ],
            "Empty": [
                "In the {room} radar {serial} counts nobody at {time}.",
                "{person} and {person2} left the {room} for {errand}; no motion since.",
                "No voices, no footsteps: {family} are abroad and the {room} is silent on {weekday}.",
                "The {room} chair sensor feels nobody since {time}, the {appliance} is off.",
            ],
        },
        {"Occupied": "Somebody is there.", "Empty": "Nobody is there."},
    ),
    Question(
        "privacy",
        "data item",
        {
            "Personal": [
                "A voice recording of {person} from the {room}, stored at {time}.",
                "Face pictures of {family} taken by camera {serial} on {weekday}.",
                "The sleep and heart rate diary of {person} from the {room} mattress.",
                "The door code that {person} types after {errand}.",
            ],
            "Harmless": [
                "The firmware version of the {room} bulb, stored at {time}.",
                "Outdoor temperature during {weather}, taken by station {serial} on {weekday}.",
                "The colour {colour} printed on the case of the {room} {appliance}.",
                "The model number {serial} of a plug bought after {errand}.",
            ],
        },
        {"Personal": "It tells something about people.", "Harmless": "It tells nothing about people."},
    ),
    Question(
        "utterance",
        "utterance",
        {
            "Question": [
                "What is the temperature in the {room} at {time}, asks {person}.",
                "Is the {room} door still open, or did {person} close it after {errand}?",
                "How many watts did the {appliance} use on {weekday}?",
                "Who was {doing} in the {room} at {time}?",
            ],
            "Command": [
                "Close the {room} door now, says {person} before {errand}.",
                "Start the {appliance} on {weekday} at {time}.",
                "Stop the music in the {room}, {person} is {doing}.",
                "Turn the {room} lamp {colour} and send {person} a message.",
            ],
        },
        {"Question": "The speaker wants to know something.", "Command": "The speaker wants something done."},
    ),
]
