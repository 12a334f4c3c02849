"""From all records to an IoT instruction set: categories out, then a ranking by IoT relevance (Edge-FIT, III-A).

The paper's second filter rule was lost, so the definition here is a declared choice: records that name an IoT thing
(`LEXICON`, whole words only: "patriot" does not name "IoT") come first, the others follow by similarity to `REFERENCE`
and to the records that matched.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer

from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json
from fedbench.instructions import records, schema
from fedbench.spec import InstructionsSpec

LEXICON = [
    "iot", "internet of things", "smart home", "smart homes", "home automation", "smart device", "smart devices",
    "connected device", "connected devices", "edge device", "edge devices", "edge computing", "smart speaker",
    "smart plug", "smart lock", "smart meter", "smart grid", "smart city", "smart cities", "smartwatch", "smart bulb",
    "smart light", "sensor", "sensors", "actuator", "actuators", "thermostat", "thermostats", "microcontroller",
    "microcontrollers", "arduino", "raspberry pi", "embedded system", "embedded systems", "firmware", "zigbee",
    "z-wave", "bluetooth", "mqtt", "lora", "lorawan", "rfid", "wi-fi", "wifi", "router", "routers", "webcam",
    "security camera", "security cameras", "doorbell", "smoke detector", "smoke detectors", "telemetry", "wearable",
    "wearables", "alexa", "google home", "botnet",
]  # fmt: skip
"""Words of the strict match: small, so that a match means something."""

REFERENCE = """
A smart home connects sensors, lights, locks, cameras and thermostats to a hub by wireless network. A motion sensor
detects activity, a thermostat controls heating and temperature, a smart plug measures power and switches appliances.
Devices report data, events, status and alarms; a gateway or router collects the logs and an application on a phone or
computer shows them. Automation follows rules, schedules and voice commands. Firmware updates, passwords, encryption
and monitoring keep the network and its devices secure against attacks and malware. Software on an embedded system or
microcontroller reads signals, processes data and sends messages to a server or the cloud. Machine learning classifies
sensor data and detects anomalies and faults. Energy, electricity, battery, water, air quality, light and humidity are
measured in rooms of a house, in buildings, cars, factories, farms and cities. Technology, internet, electronics,
engineering, machines and computers, television, speaker, camera, refrigerator, oven, washing machine, door, window.
"""
"""What IoT records talk about."""

_TEXT = ("instruction", "context", "response")
_STRICT = re.compile(rf"(?<![\w])(?:{'|'.join(re.escape(term) for term in LEXICON)})(?![\w])", re.IGNORECASE)


def filter_iot(sources: Path, spec: InstructionsSpec, out: Path, ledger: Path) -> None:
    """Drop the excluded categories, rank the rest by IoT relevance and keep the first `spec.keep`, in source order.

    Which records are kept does not hang on the order of the source's lines: ties are broken by their texts.

    Args:
        sources: list of files, of `fetch.fetch`.
        spec: `exclude` and `keep`; where fewer records are left, all are kept and the ledger says so.
        out: `filtered.parquet` (schema.FILTERED).
        ledger: JSON: counts a category before and after each step, strict lexicon matches, similarity of the last kept.

    Raises:
        FedbenchError: a malformed line, or no record is left.
    """
    rows = [
        record | {"source": "synthetic" if entry["source"] == "synthetic" else "dolly"}
        for entry in read_json(sources)
        for record in records.read(Path(entry["path"]))
    ]
    read = schema.table(rows, schema.RECORD).with_columns(pl.int_range(pl.len()).alias("row_id"))
    candidates = read.filter(~pl.col("category").is_in(list(spec.exclude)))
    if candidates.is_empty():
        raise FedbenchError("every record is excluded", where=sources, remedy="Name fewer categories under `exclude`.")
    texts = [" ".join(row) for row in candidates.select(*_TEXT).iter_rows()]
    matches = [strict_match(text) for text in texts]
    candidates = candidates.with_columns(
        pl.Series("strict_match", matches), pl.Series("similarity", similarity(texts, matches))
    )
    order = ["strict_match", "similarity", *_TEXT, "category", "row_id"]
    kept = candidates.sort(order, descending=[True, True, *[False] * 5]).head(spec.keep).sort("row_id")
    schema.write(kept.select(list(schema.FILTERED)), out)
    named = f"lexicon matches ({int(kept['strict_match'].sum())} of those kept), then TF-IDF similarity"
    short = "" if kept.height == spec.keep else f"; only {kept.height} of the wanted {spec.keep} exist, all are kept"
    write_json(
        ledger,
        {
            "rows_read": read.height,
            "rows_kept": kept.height,
            "labels": {"read": schema.counts(read), "kept": schema.counts(kept)},
            "steps": [
                _step("exclude", read, candidates, f"categories left out: {', '.join(spec.exclude) or 'none'}"),
                _step("rank", candidates, kept, f"{named}; wanted {spec.keep}{short}"),
            ],
            "wanted": spec.keep,
            "strict_matches": {
                "read": sum(strict_match(" ".join(row)) for row in read.select(*_TEXT).iter_rows()),
                "candidates": int(candidates["strict_match"].sum()),
                "kept": int(kept["strict_match"].sum()),
            },
            "lowest_similarity": min(kept.filter(~pl.col("strict_match"))["similarity"].to_list(), default=None),
        },
    )


def strict_match(text: str) -> bool:
    """Say whether `text` names a thing of LEXICON as whole words, whatever the case."""
    return _STRICT.search(text) is not None


def similarity(texts: Sequence[str], matches: Sequence[bool]) -> npt.NDArray[np.float64]:
    """Return the TF-IDF cosine of each text with the IoT direction, in [0, 1].

    That direction is the vector of REFERENCE plus the mean vector of the texts that match the lexicon (relevance
    feedback after Rocchio, equal weights), so that the ranking also reaches words which REFERENCE does not hold.
    """
    vectors = TfidfVectorizer(stop_words="english", sublinear_tf=True).fit_transform([*texts, REFERENCE])
    direction = vectors[-1].toarray().ravel()
    # In the order of the texts, so that the order of the records does not change the last bit of the mean.
    if chosen := sorted(np.flatnonzero(matches).tolist(), key=lambda place: texts[place]):
        direction = direction + np.asarray(vectors[chosen].mean(axis=0)).ravel()
    # Rounded, so that the ranking does not hang on the last bit of a sum.
    return np.asarray(np.round(vectors[:-1] @ (direction / np.linalg.norm(direction)), 9), dtype=np.float64)


def _step(step: str, before: pl.DataFrame, after: pl.DataFrame, reason: str) -> dict[str, object]:
    return {
        "step": step,
        "rows_before": before.height,
        "rows_after": after.height,
        "reason": reason,
        "labels_before": schema.counts(before),
        "labels_after": schema.counts(after),
    }
