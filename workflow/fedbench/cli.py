"""`fedbench ...`: stages by hand, on the user's own files."""

import contextlib
import json
import logging
import sys
import warnings
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
    from fedbench.federation.deployment.processes import ended_by_signals
    from fedbench.flows.clean import clean as read

    named = [(scenario(path), path) for path in logs]
    with ended_by_signals():  # whose exception leaves no half-made file behind
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


RUN = Annotated[str, typer.Argument(help="a finished run: its folder, or <experiment>/<label>")]
MODELS = Annotated[
    Path | None, typer.Option(help="folder of the base models  [default: models, beside the experiment]")
]
RESULTS = Annotated[Path, typer.Option(help="folder of the experiments")]
CLIENT = Annotated[int | None, typer.Option(min=0, help="whose model, of a local-only run")]


@app.command()
def chat(
    run: RUN,
    instruction: Annotated[str | None, typer.Option(help="one question; else lines of stdin, or typed ones")] = None,
    context: Annotated[str, typer.Option(help="text that the instruction is about")] = "",
    labels: Annotated[str, typer.Option(help="a,b,c: the answer is one of these")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line, with the action to take")] = False,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="longest answer")] = None,
    client: CLIENT = None,
    models: MODELS = None,
    results: RESULTS = Path("results"),
) -> None:
    """Ask the model of an Edge-FIT run; --json lines may also come in as objects (instruction, context, labels)."""
    from fedbench.using.chat import Chat, Question, read, split_labels, talk
    from fedbench.using.finished import find

    finished = find(run, results)
    model = Chat(finished, client=client, models=models, max_new_tokens=max_new_tokens)
    asked = split_labels(labels)
    if instruction is None and sys.stdin.isatty() and not as_json:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives `input` a history and keys
        talk(model, input, sys.stdout, Question("", context, asked))
        return
    questions = [Question(instruction, context, asked)] if instruction is not None else read(sys.stdin, context, asked)
    stream = sys.stdout if sys.stdout.isatty() and not as_json else None
    for question in questions:
        reply = model.ask(question, stream)
        if as_json:
            print(reply.to_json(), flush=True)
        elif stream is None:
            print(reply.answer, flush=True)


@app.command()
def classify(
    run: RUN,
    logs: Annotated[list[Path], typer.Argument(help="Zeek conn logs: TSV or JSON lines, plain, gzip or zstd")],
    out: Annotated[Path | None, typer.Option(help="a row a flow: .parquet or .csv")] = None,
    ledger: Annotated[Path | None, typer.Option(help="what happened to every row (JSON)")] = None,
    quarantine: Annotated[Path | None, typer.Option(help="rows that could not be read (Parquet)")] = None,
    format: Annotated[Literal["auto", "zeek", "json"], typer.Option(help="of the logs")] = "auto",
    max_quarantined: Annotated[float, typer.Option(min=0, max=1, help="largest share of unreadable rows")] = 0.01,
    models: MODELS = None,
    results: RESULTS = Path("results"),
) -> None:
    """Label the flows of your own logs with the model of a GSFS run; tells its accuracy if the logs have labels."""
    from fedbench.progress import Bar
    from fedbench.using.classify import classify as label
    from fedbench.using.finished import find

    finished = find(run, results)
    with Bar(finished.run.label) as bar:
        summary = label(
            finished,
            [(scenario(path), path) for path in logs],
            out,
            models=models,
            format=format,
            max_quarantined=max_quarantined,
            ledger=ledger,
            quarantine=quarantine,
            on_flows=lambda done, total: bar.reached(done, total, "flows"),
        )
    Console().print(summary.table())
    typer.echo(summary.told())
    if out:
        typer.echo(f"{out}: a row a flow")


@app.command()
def export(
    run: RUN,
    out: Annotated[Path, typer.Option(help="a new folder, for merged/ and adapter/")],
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"], typer.Option(help="of the merged weights")
    ] = "float32",
    client: CLIENT = None,
    models: MODELS = None,
    results: RESULTS = Path("results"),
) -> None:
    """Write the model of a run for transformers (merged) and for PEFT (adapter), each with a model card."""
    from fedbench.using.export import export as write
    from fedbench.using.finished import find

    written, without = write(find(run, results), out, client=client, models=models, precision=precision)
    for folder in written:
        typer.echo(f"{folder}: model and README.md")
    if without:
        typer.echo(f"No adapter folder: {without}.", err=True)


@app.command()
def diff(
    a: Annotated[Path, typer.Argument(help="a result set: results/<experiment>")],
    b: Annotated[Path, typer.Argument(help="the result set to set beside it")],
    every: Annotated[bool, typer.Option("--all", help="every score and cost, not only those that differ")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="everything as JSON")] = False,
) -> None:
    """Compare two result sets; exit code 0: the same runs, equal within their intervals; 3: different; 1: an error."""
    from fedbench.reporting.difference import as_json as told
    from fedbench.reporting.difference import as_text, compare

    found = compare(a, b)
    typer.echo(json.dumps(told(found), indent=2, ensure_ascii=False) if as_json else as_text(found, every=every))
    if not found.equal:
        raise typer.Exit(3)


def scenario(log: Path) -> str:
    """Return the name to give a log: its folder, as IoT-23 lays them out, else its file name up to the first dot."""
    generic = {"", ".", "bro", "zeek", "logs"}
    names = [parent.name for parent in log.resolve().parents if parent.name not in generic]
    return names[0] if log.name.startswith("conn.log") and names else log.name.split(".")[0]


def main() -> None:
    """Run the command line; a fault the user can mend is one line and exit code 1."""
    # Advice of the libraries to their developers: an optional kernel, names that will change.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app()
    except FedbenchError as error:
        print(f"fedbench: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
