"""Which of Dolly's own classification records state a closed label set and answer with exactly one label of it."""

import re

_QUOTED = re.compile(r"(?:'[^']{1,30}'|\"[^\"]{1,30}\")(?:,? (?:or )?(?:'[^']{1,30}'|\"[^\"]{1,30}\"))+", re.IGNORECASE)
_ASKS = re.compile(r"(?:classify|label|categori[sz]e|identify|decide|tell me|is|are|determine)\b", re.IGNORECASE)
_EITHER = re.compile(
    r"(?:is|are|tell me (?:whether|if)|determine (?:whether|if)|classify .* as)\b[^,;:]*? (\w+) or (?:an? )?(\w+)"
    r"(?=\s*(?:[:?.]|$))",
    re.IGNORECASE,
)
_LEAD = re.compile(r"(?:(?:it|this|that|they|these)(?: is|'s| are)?\s+)?(?:an? )?", re.IGNORECASE)


def closed_label(instruction: str, response: str) -> tuple[str, list[str]] | None:
    """Return (label, label set) where both are certain, else None.

    Two forms count: a list of quoted labels ("as 'Sensor' or 'Actuator'") and a choice of two words ("Is an apple a
    fruit or a vegetable?"); the response must be one label and no more than "It is a ...". "Which is a species of fish?
    Bass or Treble" is left out: its options are items, not classes. Few records of Dolly 15k pass.
    """
    text = instruction.strip()
    if not _ASKS.match(text):
        return None
    lists = _QUOTED.findall(text)
    if len(lists) == 1:
        labels = [label[1:-1].strip() for label in re.findall(r"'[^']+'|\"[^\"]+\"", lists[0])]
    elif not lists and (choice := _EITHER.match(text)):
        labels = list(choice.groups())
    else:
        return None
    folded = [label.casefold() for label in labels]
    answer = _LEAD.sub("", response.strip(), count=1).strip().rstrip(".!").strip("'\"").casefold()
    if len(set(folded)) < len(folded) or not all(folded) or answer not in folded:
        return None
    return labels[folded.index(answer)], labels
