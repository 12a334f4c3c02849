"""What the synthetic devices and their malware do on the network: the shapes of flows, by class.

The shapes are written by hand after the descriptions of the IoT-23 captures. Classes overlap on purpose (an unanswered
SYN may be a scan, a bot looking for its server, or a harmless device), so that no rule of one field tells them apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Range = tuple[float, float]


@dataclass(frozen=True)
class Behaviour:
    """One kind of flow; ranges are drawn log-uniformly.

    Attributes:
        weight: share among the behaviours of its class.
        seconds: duration; None: unset, and with it the payload sizes.
        payload: bytes sent by originator and responder, each a range.
        packets: of originator and responder, each a range.
        any_port: share of flows to a port of the whole range rather than one of `ports`.
    """

    weight: float
    proto: str
    service: str
    state: str
    histories: tuple[str, ...]
    ports: tuple[int, ...]
    packets: tuple[Range, Range]
    seconds: Range | None = None
    payload: tuple[Range, Range] = ((0, 0), (0, 0))
    any_port: float = 0.0


_ONE: Final = ((1.0, 1.0), (0.0, 0.0))
_TRIES: Final = ((2.0, 6.0), (0.0, 0.0))
_TELNET: Final = (23, 2323)
_NOTHING: Final = ((0.0, 0.0), (0.0, 0.0))

BEHAVIOURS: Final[Mapping[str, tuple[Behaviour, ...]]] = {
    "Benign": (
        Behaviour(4, "udp", "dns", "SF", ("Dd",), (53,), ((1, 2), (1, 2)), (0.001, 0.4), ((28, 120), (44, 480))),
        Behaviour(1, "udp", "dns", "S0", ("D",), (53,), ((1, 4), (0, 0)), (1, 15), ((28, 180), (0, 0))),
        Behaviour(2, "udp", "-", "SF", ("Dd",), (123,), ((1, 1), (1, 1)), (0.004, 0.3), ((48, 48), (48, 48))),
        Behaviour(1, "udp", "-", "S0", ("D",), (123, 1900, 5353), ((1, 30), (0, 0)), (2, 900), ((48, 9000), (0, 0))),
        Behaviour(
            2,
            "tcp",
            "http",
            "SF",
            ("ShADadFf", "ShADadfF", "ShADadtfF"),
            (80, 8080),
            ((5, 60), (4, 70)),
            (0.08, 20),
            ((80, 900), (200, 90_000)),
        ),
        Behaviour(
            2,
            "tcp",
            "ssl",
            "SF",
            ("ShADadFf", "ShADdaFf"),
            (443, 8883),
            ((7, 40), (6, 40)),
            (0.1, 300),
            ((300, 5000), (900, 40_000)),
        ),
        Behaviour(1, "tcp", "-", "S0", ("S",), (80, 443, 23), _ONE),
        Behaviour(
            1, "tcp", "-", "RSTO", ("ShADadR", "ShR"), (443, 80), ((3, 12), (2, 10)), (0.05, 60), ((0, 900), (0, 3000))
        ),
        Behaviour(0.5, "udp", "dhcp", "SF", ("Dd",), (67,), ((1, 2), (1, 2)), (0.001, 2), ((300, 600), (300, 600))),
        Behaviour(0.5, "icmp", "-", "OTH", ("-",), (0, 3), ((1, 6), (0, 5)), (0.01, 5), ((56, 400), (0, 300))),
    ),
    "PartOfAHorizontalPortScan": (
        Behaviour(4, "tcp", "-", "S0", ("S",), (*_TELNET, 22, 80, 81, 8080, 37215, 52869), _ONE, any_port=0.25),
        Behaviour(3, "tcp", "-", "S0", ("S",), (*_TELNET, 22, 8080), _TRIES, (2.5, 3.6), _NOTHING, any_port=0.15),
        Behaviour(
            2, "tcp", "-", "REJ", ("Sr",), (*_TELNET, 22, 80, 5555), ((1, 2), (1, 2)), (0.01, 1.2), _NOTHING, 0.2
        ),
        Behaviour(1, "tcp", "-", "RSTOS0", ("R", "I"), _TELNET, _ONE, any_port=0.3),
    ),
    "Okiru": (
        Behaviour(5, "tcp", "-", "S0", ("S",), (37215, 52869, 81, 8081, 23), _ONE, any_port=0.05),
        Behaviour(3, "tcp", "-", "S0", ("S",), (37215, 52869, 60001), _TRIES, (2.8, 9.5), _NOTHING),
        Behaviour(1, "tcp", "-", "SH", ("F", "SF"), (37215, 52869, 81), ((1, 2), (0, 0)), (0.001, 0.9), _NOTHING),
    ),
    "DDoS": (
        Behaviour(3, "tcp", "-", "OTH", ("C", "CCC"), (80, 443), ((0, 0), (0, 0))),
        Behaviour(2, "tcp", "-", "S0", ("S",), (80, 443, 8080), ((1, 900), (0, 0)), (0.2, 40), _NOTHING),
        Behaviour(
            2, "udp", "-", "S0", ("D",), (80, 53, 4567), ((20, 9000), (0, 0)), (0.5, 60), ((9000, 900_000), (0, 0)), 0.3
        ),
    ),
    "C&C": (
        Behaviour(
            3,
            "tcp",
            "irc",
            "S3",
            ("ShAdDaf", "ShAdDaft"),
            (6667, 2407),
            ((5, 40), (4, 30)),
            (1.5, 900),
            ((60, 900), (90, 2400)),
        ),
        Behaviour(2, "tcp", "-", "S0", ("S",), (6667, 2407, 1312), _TRIES, (2.9, 3.3), _NOTHING),
        Behaviour(
            1,
            "tcp",
            "irc",
            "RSTR",
            ("ShAdfDr", "ShAfdtDr"),
            (6667,),
            ((4, 14), (3, 12)),
            (0.4, 30),
            ((40, 300), (20, 500)),
        ),
        Behaviour(1, "tcp", "-", "S0", ("S",), (6667, 23, 80), _ONE),
    ),
    "C&C-HeartBeat": (
        Behaviour(
            3,
            "tcp",
            "-",
            "SF",
            ("ShADadFf", "ShADdaFf"),
            (8081, 2407, 443),
            ((4, 9), (3, 8)),
            (0.2, 60),
            ((2, 60), (2, 60)),
        ),
        Behaviour(1, "tcp", "-", "S3", ("ShAdDaf",), (8081, 6667), ((4, 12), (3, 9)), (20, 2000), ((4, 200), (4, 200))),
        Behaviour(1, "udp", "-", "SF", ("Dd",), (123, 8081), ((1, 3), (1, 3)), (0.01, 5), ((12, 90), (12, 90))),
    ),
    "Attack": (
        Behaviour(
            3,
            "tcp",
            "ssh",
            "SF",
            ("ShAdDaFf", "ShADadFf"),
            (22,),
            ((9, 30), (9, 30)),
            (1, 20),
            ((700, 2600), (1200, 4000)),
        ),
        Behaviour(
            2, "tcp", "-", "SF", ("ShADadFf", "ShAdDaFf"), _TELNET, ((6, 50), (5, 40)), (1, 60), ((20, 600), (40, 2500))
        ),
        Behaviour(
            1,
            "tcp",
            "-",
            "RSTO",
            ("ShADadR", "ShAdDaR"),
            (*_TELNET, 22),
            ((4, 16), (3, 12)),
            (0.3, 30),
            ((0, 300), (0, 900)),
        ),
    ),
}

PUBLISHED_FLOWS: Final[Mapping[str, int]] = {
    "PartOfAHorizontalPortScan": 213_852_924,
    "Okiru": 60_990_711,
    "Benign": 30_858_735,
    "DDoS": 19_538_713,
    "C&C-HeartBeat": 33_673,
    "C&C": 21_995,
    "Attack": 9_398,
}
"""Flows of the seven largest classes of the whole of IoT-23, as published with the data set."""
