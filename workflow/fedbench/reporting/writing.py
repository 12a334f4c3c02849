"""One table as Markdown, CSV, LaTeX and a page of HTML."""

import re
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from fedbench.files import write_text
from fedbench.reporting.results import NOT_RUN, Estimate

_STYLE = Path(__file__).parent / "templates" / "style.css"
_PAGE = '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{}</title>\n<style>\n{}</style>\n'
_LATEX = {"±": r"$\pm$", "−": "$-$", "×": r"$\times$", "–": "--", "—": "---", "≥": r"$\ge$", "≤": r"$\le$"}


def write(frame: pd.DataFrame, stem: Path, caption: str, *, label: str | None = None) -> None:
    """Write `stem`.md, .csv, .tex and .html, each whole or not at all.

    Args:
        frame: cells are `Estimate`s, text or plain numbers.
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
    """Return the caption and a GitHub table."""
    shown = _shown(frame).map(lambda text: text.replace("|", "\\|").replace("\n", " "))
    table = tabulate(
        shown.to_numpy().tolist(), list(frame.columns), "github", disable_numparse=True, colalign=_alignment(frame)
    )
    return f"{caption}\n\n{table}\n"


def latex(frame: pd.DataFrame, caption: str, label: str) -> str:
    """Return a table environment with booktabs rules."""
    table = tabulate(
        _shown(frame).to_numpy().tolist(),
        list(frame.columns),
        "latex_booktabs",
        disable_numparse=True,
        colalign=_alignment(frame),
    )
    head = tabulate([[caption]], tablefmt="latex", disable_numparse=True).splitlines()[2].removesuffix(r"\\").strip()
    text = f"\\begin{{table}}\n\\centering\n\\caption{{{head}}}\n\\label{{{label}}}\n{table}\n\\end{{table}}\n"
    return re.sub("|".join(map(re.escape, _LATEX)), lambda match: _LATEX[match.group()], text)


def html(frame: pd.DataFrame, caption: str) -> str:
    """Return a page with the table in a <figure>; a note column without notes is left out."""
    if "note" in frame.columns and not any(frame["note"]):
        frame = frame.drop(columns="note")
    heads = "".join(
        f'<th scope="col"{_numeric(frame, name)}>{escape("Note" if name == "note" else name)}</th>'
        for name in frame.columns
    )
    body = "\n".join(
        "<tr>" + "".join(_cell(name, cell) for name, cell in zip(frame.columns, row, strict=True)) + "</tr>"
        for row in frame.itertuples(index=False, name=None)
    )
    return _PAGE.format(escape(caption.split(":")[0]), _STYLE.read_text(encoding="utf-8")) + (
        f'<figure class="table">\n<figcaption>{escape(caption)}</figcaption>\n<div class="scroll"><table>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>\n</figure>\n"
    )


def fragment(page: str) -> str:
    """Return the <figure> of a page made by `html`."""
    return page[page.index("<figure") :]


def _cell(column: str, cell: Any) -> str:
    if isinstance(cell, Estimate):
        extra = "".join(f" <small>{escape(part)}</small>" for part in (cell.spread, cell.interval) if part)
        return f'<td class="number"><b>{cell.mean}</b>{extra}</td>'
    text = escape(str(cell))
    if column == "verdict":
        return f'<td><span class="verdict {text.replace(" ", "-")}">{text}</span></td>'
    if cell == NOT_RUN:
        return f'<td class="not-run">{text}</td>'
    return f'<td class="note">{text}</td>' if column in ("note", "reason") else f"<td>{text}</td>"


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
