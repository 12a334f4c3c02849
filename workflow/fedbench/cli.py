"""`fedbench ...`: stages by hand, on the user's own files."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from fedbench.errors import FedbenchError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.callback()
def _commands() -> None:
    """Stages by hand."""


@app.command()
def clean(
    logs: Annotated[list[Path], typer.Argument(help="Zeek conn logs: TSV or JSON lines, plain, gzip or zstd")],
    out: Annotated[Path, typer.Option(help="typed flows (Parquet)")],
    ledger: Annotated[Path, typer.Option(help="what happened to every row (JSON)")],
    quarantine: Annotated[Path | None, typer.Option(help="rows that could not be read (Parquet)")] = None,
    format: Annotated[Literal["auto", "zeek", "json"], typer.Option(help="of the logs")] = "auto",
    max_quarantined: Annotated[float, typer.Option(min=0, max=1, help="largest share of unreadable rows")] = 0.01,
) -> None:
    """Read connection logs into typed flows; every row is kept or quarantined, and counted."""
    from fedbench.flows.clean import clean as read

    named = [(scenario(path), path) for path in logs]
    account = read(named, out, ledger, quarantine, format=format, max_quarantined=max_quarantined)
    typer.echo(
        f"{out}: {account['rows_kept']:,} of {account['rows_read']:,} rows kept, "
        f"{account['rows_quarantined']:,} quarantined ({ledger})"
    )


@app.command()
def check(
    experiment: Annotated[Path, typer.Argument(help="an experiment file (YAML)")],
    config: Annotated[Path, typer.Option(help="folder of models.yaml, strategies.yaml and tiers.yaml")] = Path(
        "config"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="the resolved runs as JSON")] = False,
) -> None:
    """Validate an experiment file and list the runs it expands to."""
    from fedbench.experiment import load, read_registry, read_yaml
    from fedbench.runs import runs

    chosen = load(read_yaml(experiment), folder=config, origin=str(experiment))
    table = runs(chosen, read_registry(config), where=experiment)
    if as_json:
        typer.echo(json.dumps({name: spec.model_dump(mode="json") for name, spec in table.items()}, indent=2))
        return
    shown = Table("run", "procedure", "model", "strategy", "seed", "tier", title=f"{chosen.title}: {len(table)} runs")
    for name, spec in table.items():
        model = spec.model.title if spec.model else str(spec.baseline)
        shown.add_row(
            name, spec.procedure, model, spec.strategy.title if spec.strategy else "", str(spec.seed), spec.tier
        )
    Console().print(shown)


@app.command()
def deploy(
    experiment: Annotated[Path, typer.Option(help="an experiment file (YAML) whose data and models are made")],
    run: Annotated[str, typer.Option(help="label or folder name of one of its federated runs (see `check`)")],
    nodes: Annotated[int, typer.Option(min=1, help="SuperNodes; client c is on node c mod N")] = 2,
    out: Annotated[
        Path | None, typer.Option(help="folder of the result  [default: results/<experiment>/deployed/<run>]")
    ] = None,
    config: Annotated[Path, typer.Option(help="folder of models.yaml, strategies.yaml and tiers.yaml")] = Path(
        "config"
    ),
    timeout: Annotated[float, typer.Option(min=1, help="seconds after which the run is given up")] = 86_400,
    keep: Annotated[bool, typer.Option("--keep", help="leave the private folder with keys and rows behind")] = False,
) -> None:
    """Execute a federated run on a real SuperLink and SuperNodes: loopback, TLS, node keys, all of it ended after."""
    from fedbench.deploying import deploy as execute
    from fedbench.deploying import located
    from fedbench.experiment import load, read_registry, read_yaml
    from fedbench.federation.deployment.processes import ended_by_signals
    from fedbench.progress import Bar
    from fedbench.runs import runs

    chosen = load(read_yaml(experiment), folder=config, origin=str(experiment))
    table = runs(chosen, read_registry(config), where=experiment)
    named = [spec for folder, spec in table.items() if run in (folder, spec.label)]
    if len(named) != 1:
        federated = ", ".join(folder for folder, spec in table.items() if spec.procedure == "federated") or "none"
        raise FedbenchError(
            f"--run {run!r} names {len(named)} runs", where=experiment, remedy=f"Use one of: {federated}."
        )
    spec = named[0]
    target = out or Path(chosen.results) / chosen.experiment / "deployed" / spec.folder
    with ended_by_signals(), Bar(spec.label) as bar:
        bar.stage("starting", 1)
        execute(spec, *located(chosen, spec), target, nodes=nodes, timeout=timeout, keep=keep, on_round=bar.reached)
    typer.echo(f"{target}: {spec.label} on {nodes} SuperNodes, adapter.safetensors, history.parquet and logs/")


def scenario(log: Path) -> str:
    """Return the name to give a log: its folder, as IoT-23 lays them out, else its file name up to the first dot."""
    generic = {"", ".", "bro", "zeek", "logs"}
    names = [parent.name for parent in log.resolve().parents if parent.name not in generic]
    return names[0] if log.name.startswith("conn.log") and names else log.name.split(".")[0]


def main() -> None:
    """Run the command line; a fault the user can mend is one line and exit code 1."""
    try:
        app()
    except FedbenchError as error:
        print(f"fedbench: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
