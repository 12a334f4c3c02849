"""Tables of a finished experiment as one page for git: `python -m fedbench.reporting.reference results/<experiment>`.

Results are not kept in git; this page is, with the command, commit, machine and date that its numbers come from.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tabulate import tabulate

from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_text
from fedbench.reporting.captions import TABLES


def keep(results: Path, folder: Path) -> Path:
    """Write `folder`/<experiment>.md: where the tables of `results` come from, and all of them. Returns the page.

    Raises:
        FedbenchError: the experiment is not finished, or some of its runs are of code that no commit holds.
    """
    manifest = results / "manifest.json"
    if not manifest.is_file():
        raise FedbenchError(
            "no manifest: the experiment is not finished", where=results, remedy="Run `make reproduce` to its end."
        )
    told = read_json(manifest)
    if unclean := sum(bool(run["dirty"]) for run in told["runs"].values()):
        raise FedbenchError(
            f"{unclean} of {len(told['runs'])} runs are of code that no commit holds",
            where=manifest,
            remedy="Commit, delete these runs, and run the experiment again.",
        )
    files = [results / "tables" / f"{name}{kind}.md" for name in TABLES for kind in ("", "-verdict")]
    tables = [f"## {path.stem}\n\n{path.read_text(encoding='utf-8')}" for path in files if path.is_file()]
    page = folder / f"{told['experiment']}.md"
    write_text(page, "\n".join([f"# {told['title']}\n", _origin(told), *tables]))
    return page


def _origin(told: dict[str, Any]) -> str:
    """Return a table of where the results come from; machines without their names."""
    runs = told["runs"].values()
    places = [told["environments"][run["environment"]] for run in runs if run.get("environment")]
    machines = {
        f"{host['processor']}, {host['cores']} cores, {host['memory_bytes'] / 2**30:.0f} GiB, "
        f"{', '.join(gpu['name'] for gpu in host['gpus']) or 'no GPU'}"
        for host in (place["host"] for place in places)
    }
    versions = {f"{name} {version}" for place in places for name, version in place["versions"].items()}
    seconds = sum(run["seconds"] or 0 for run in runs)
    rows = [
        ["command", f"`{told['command']}`"],
        ["written", told["written"]],
        ["commit of the runs", ", ".join(sorted({run["commit"] for run in runs if run["commit"]}))],
        ["commit of the tables", f"{told['commit']}{', with changes' if told['dirty'] else ''}"],
        ["runs", ", ".join(f"{count} {status}" for status, count in Counter(run["status"] for run in runs).items())],
        ["seconds of all runs", f"{seconds:,.0f}, one after another"],
        ["machine", "; ".join(sorted(machines))],
        ["versions", ", ".join(sorted(versions))],
    ]
    return tabulate(rows, headers=["", ""], tablefmt="github", disable_numparse=True) + "\n"


if __name__ == "__main__":
    try:
        print(keep(Path(sys.argv[1]), Path("results/reference")))
    except FedbenchError as error:
        sys.exit(f"fedbench: {error}")
