"""One table as Markdown, CSV, LaTeX and a page of HTML."""

import itertools
import re
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from fedbench.files import write_text
from fedbench.reporting.results import NOT_MEASURED, NOT_RUN, Estimate

_STYLE = Path(__file__).parent / "templates" / "style.css"
_PAGE = '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{}</title>\n<style>\n{}</style>\n'
_LATEX = {"±": r"$\pm$", "−": "$-$", "×": r"$\times$", "–": "--", "—": "---", "≥": r"$\ge$", "≤": r"$\le$"}


_TALL = 24  # rows from which a table scrolls in its own box
# "Accuracy, central": columns that share what stands before the comma share a heading.
_HEAD = re.compile(r"((?:[^,(]|\([^)]*\))+), (.+)")
# Columns named in lower case by the code; what else is in lower case is a class or a category of the data.
_WORDS = {"note", "per", "seeds", "row", "column", "published", "measure", "ours", "difference", "verdict", "reason"}
_SHORT = 24  # characters up to which text stays on one line


def write(frame: pd.DataFrame, stem: Path, caption: str, *, label: str | None = None) -> None:
    """Write `stem`.md, .csv, .tex and .html, each whole or not at all.

    Args:
        frame: cells are `Estimate`s, text or plain numbers; `attrs["findings"]` are sentences shown with the table.
        stem: path without suffix.
        caption: shown with the table in all forms but CSV; a sentence or more.
        label: the table's LaTeX label, by default `tab:<name of stem>`.
    """
    for suffix, text in (
        (".md", markdown(frame, caption)),
        (".csv", raw(frame).to_csv(index=False, lineterminator="\n")),
        (".tex", latex(frame, caption, label or f"tab:{stem.name}")),
        (".html", html(frame, caption)),
    ):
        write_text(stem.with_name(stem.name + suffix), text)


def raw(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with each estimate's numbers unrounded, in columns of their own: value, low, high and sd."""
    columns: dict[str, list[Any]] = {}
    for name in frame.columns:
        cells = list(frame[name])
        columns[name] = [_number(cell.value) if isinstance(cell, Estimate) else cell for cell in cells]
        for part in ("low", "high", "sd"):
            values = [getattr(cell, part, None) for cell in cells]
            if any(value is not None for value in values):
                columns[f"{name} {part}"] = ["" if value is None else value for value in values]
    return pd.DataFrame(columns)


def markdown(frame: pd.DataFrame, caption: str) -> str:
    """Return the caption, the findings as a list, and a GitHub table."""
    shown = _shown(frame).map(lambda text: text.replace("|", "\\|").replace("\n", " "))
    table = tabulate(
        shown.to_numpy().tolist(), list(frame.columns), "github", disable_numparse=True, colalign=_alignment(frame)
    )
    findings = "".join(f"- {text}\n" for text in _findings(frame))
    return "\n".join(filter(None, [f"{caption}\n", findings, f"{table}\n"]))


def latex(frame: pd.DataFrame, caption: str, label: str) -> str:
    """Return a table environment with booktabs rules."""
    table = tabulate(
        _shown(frame).to_numpy().tolist(),
        list(frame.columns),
        "latex_booktabs",
        disable_numparse=True,
        colalign=_alignment(frame),
    )
    said = " ".join([caption, *_findings(frame)])
    head = tabulate([[said]], tablefmt="latex", disable_numparse=True).splitlines()[2].removesuffix(r"\\").strip()
    text = f"\\begin{{table}}\n\\centering\n\\caption{{{head}}}\n\\label{{{label}}}\n{table}\n\\end{{table}}\n"
    return re.sub("|".join(map(re.escape, _LATEX)), lambda match: _LATEX[match.group()], text)


def html(frame: pd.DataFrame, caption: str) -> str:
    """Return a page with the table in a <figure>; a note column without notes is left out."""
    if "note" in frame.columns and not any(frame["note"]):
        frame = frame.drop(columns="note")
    body = "\n".join(
        "<tr>" + "".join(_cell(name, cell) for name, cell in zip(frame.columns, row, strict=True)) + "</tr>"
        for row in frame.itertuples(index=False, name=None)
    )
    items = "".join(f"<li>{escape(text)}</li>" for text in _findings(frame))
    findings = f'<ul class="findings">{items}</ul>\n' if items else ""
    box = "scroll tall" if len(frame) > _TALL else "scroll"
    return _PAGE.format(escape(caption.split(":")[0]), _STYLE.read_text(encoding="utf-8")) + (
        f'<figure class="table">\n<figcaption>{escape(caption)}</figcaption>\n{findings}<div class="{box}"><table>\n'
        f"<thead>{_heads(frame)}</thead>\n<tbody>\n{body}\n</tbody>\n</table></div>\n</figure>\n"
    )


def fragment(page: str) -> str:
    """Return the <figure> of a page made by `html`."""
    return page[page.index("<figure") :]


def _findings(frame: pd.DataFrame) -> list[str]:
    return list(frame.attrs.get("findings", []))


def _heads(frame: pd.DataFrame) -> str:
    """Return one row of headings, or two where neighbours share one."""
    split = [_HEAD.fullmatch(name) for name in frame.columns]
    shared = [match.group(1) if match else "" for match in split]
    groups = [(key, list(part)) for key, part in itertools.groupby(range(len(shared)), lambda k: shared[k] or k)]
    first, second = [], []
    tall = any(len(members) > 1 for _, members in groups)
    for key, members in groups:
        if len(members) > 1:
            first.append(f'<th scope="colgroup" class="group" colspan="{len(members)}">{escape(str(key))}</th>')
        for k in members:
            name = str(frame.columns[k])
            if len(members) > 1:
                match = split[k]
                assert match is not None
                second.append(f'<th scope="col"{_numeric(frame, name)}>{escape(match.group(2))}</th>')
            else:
                rows = ' rowspan="2"' if tall else ""
                text = name.capitalize() if name in _WORDS else name
                first.append(f'<th scope="col"{rows}{_numeric(frame, name)}>{escape(text)}</th>')
    return "".join(f"<tr>{''.join(row)}</tr>" for row in (first, second) if row)


def _cell(column: str, cell: Any) -> str:
    if isinstance(cell, Estimate):
        remark = f"({cell.remark})" if cell.remark else ""
        extra = "".join(f" <small>{escape(part)}</small>" for part in (cell.spread, cell.interval, remark) if part)
        return f'<td class="number"><b>{cell.mean}</b>{extra}</td>'.replace("-", "−")
    text = escape(str(cell))
    if column in ("verdict", "Reading") and text:
        return f'<td><span class="verdict {text.split(":")[0].replace(" ", "-")}">{text}</span></td>'
    if text.startswith((NOT_RUN, NOT_MEASURED, "not reached")) and column not in ("note", "reason"):
        return f'<td class="not-run">{text}</td>'
    if column in ("note", "reason"):
        return f'<td class="note">{text}</td>'
    return f'<td class="short">{text}</td>' if len(str(cell)) <= _SHORT else f"<td>{text}</td>"


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.map(str)


def _is_number(frame: pd.DataFrame, name: str) -> bool:
    return any(isinstance(cell, (Estimate, int, float)) for cell in frame[name])


def _numeric(frame: pd.DataFrame, name: str) -> str:
    return ' class="number"' if _is_number(frame, name) else ""


def _alignment(frame: pd.DataFrame) -> list[str]:
    return ["right" if _is_number(frame, name) else "left" for name in frame.columns]


def _number(value: float) -> float | int:
    return int(value) if float(value).is_integer() and abs(value) > 1 else value
