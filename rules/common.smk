# The only helpers: the validated configuration, the run table it expands to, and which files each target is.

import json
import mimetypes
import os
import shlex
import sys
from pathlib import Path

HOME = Path(workflow.basedir)
sys.path.insert(0, str(HOME / "workflow"))

from fedbench import experiment as experiments
from fedbench import runs as run_table
from fedbench.digest import code_digest
from fedbench.errors import FedbenchError
from fedbench.manifest import COMMAND
from fedbench.reporting import captions, contents
from fedbench.spec import MirrorSource, ModelSpec, OfficialFlows

# Every job inherits these: idle OpenMP threads sleep (spinning costs a busy machine a factor of five), the package is
# found where it is not installed, the manifest learns the command, and Flower does not call home.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault(COMMAND, shlex.join(["snakemake", *sys.argv[1:]]))
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [str(HOME / "workflow"), os.environ.get("PYTHONPATH")])),
    FLWR_TELEMETRY_ENABLED="0",
    FLWR_DISABLE_UPDATE_CHECK="1",
)

# So that the report shows YAML as text and does not warn.
mimetypes.add_type("text/plain", ".yaml")


# --- the experiment and its runs ---

CONFIG = Path(os.path.relpath(HOME / "config"))
FILES = [os.path.relpath(path) for path in workflow.config_settings.configfiles]
ORIGIN = " + ".join(FILES or [f"{CONFIG}/experiments/{config.get('experiment')}.yaml"])
if workflow.config_settings.config:
    ORIGIN += " + --config"

try:
    REGISTRY = experiments.read_registry(CONFIG)
    EXPERIMENT = experiments.load(config, folder=CONFIG, origin=ORIGIN)
    RUNS = run_table.runs(EXPERIMENT, REGISTRY, where=ORIGIN)
    TEACHER = run_table.teacher(EXPERIMENT.edge_fit, REGISTRY, ORIGIN) if EXPERIMENT.edge_fit else None
except FedbenchError as error:
    raise WorkflowError(str(error)) from None

GSFS, EDGE_FIT = EXPERIMENT.gsfs, EXPERIMENT.edge_fit
FLOWS = GSFS.flows if GSFS else None
INSTRUCTIONS = EDGE_FIT.instructions if EDGE_FIT else None

RESULTS = f"{EXPERIMENT.results}/{EXPERIMENT.experiment}"
IOT23, DOLLY = f"{RESULTS}/data/iot23", f"{RESULTS}/data/dolly"
DATA = ({"gsfs": IOT23} if GSFS else {}) | ({"edge-fit": DOLLY} if EDGE_FIT else {})
SCORES = [f"{RESULTS}/scores/scores.parquet", f"{RESULTS}/scores/runs.parquet"]
SNAPSHOTS = f"{EXPERIMENT.results}/models"  # shared: no experiment fetches or converts the same weights again

DOWNLOADS = f"{EXPERIMENT.results}/downloads"  # shared as well, and no rule's output: an interrupted one goes on
CHECKSUMS = f"{CONFIG}/checksums.yaml"  # a parameter, not an input: a checksum that is recorded reruns nothing

# Addresses go to the download, counts to the comparison: a count that is corrected fetches nothing.
CAPTURES = run_table.captures(FLOWS.source, REGISTRY, ORIGIN) if FLOWS else {}
IS_OFFICIAL = FLOWS is not None and isinstance(FLOWS.source, OfficialFlows)
ADDRESSES = {name: capture.address for name, capture in CAPTURES.items() if IS_OFFICIAL}

# A snapshot depends on the weights alone: a new title or licence fetches nothing.
MODELS = {
    f"{model.name}-{model.weights.digest()}": ModelSpec(name=model.name, title=model.name, weights=model.weights)
    for model in (TEACHER, *(run.model for run in RUNS.values()))
    if model
}

RUN_FILES = ("adapter.safetensors", "history.parquet", "predictions.parquet", "usage.json", "manifest.json")


def any_of(names):
    """A regular expression for exactly these names; where there are none, one that matches nothing."""
    return "|".join(map(re.escape, sorted(names))) or "(?!)"


def keys(spec, *names):
    """The named keys of a specification as JSON: what a stage may see, and the only edits that rerun it."""
    return spec.model_dump_json(include=set(names))


def originals(source, *patterns):
    """The files of a mirror, as inputs, so that a new or changed one is noticed; a synthetic source has none."""
    if not isinstance(source, MirrorSource):
        return []
    folder = Path(source.path)
    found = (path for pattern in source.files or patterns for path in folder.glob(pattern))
    return sorted({str(path) for path in found if path.is_file()})


# --- what a run needs ---


def dataset(wildcards):
    """The data set of a run and who holds what of it."""
    run = RUNS[wildcards.run]
    folder = DATA[run.study]
    return {"dataset": f"{folder}/dataset.parquet", "clients": f"{folder}/clients-{run.partition}.parquet"}


def snapshot_of(model):
    """The folder of a model's snapshot; nothing where there is no model."""
    return f"{SNAPSHOTS}/{model.name}-{model.weights.digest()}" if model else []


def snapshot(wildcards):
    """The base model of a run; a classical baseline has none."""
    return snapshot_of(RUNS[wildcards.run].model)


def teacher(wildcards):
    """The adapter and the base model of the finished run that a run distils from; most have none."""
    taught = RUNS[wildcards.run].teacher
    if not taught:
        return []
    name = f"{taught.model.name}-{taught.model.weights.digest()}"
    return [f"{RESULTS}/runs/{taught.run}/adapter.safetensors", f"{SNAPSHOTS}/{name}"]


def snapshot_code(wildcards):
    """The fingerprint of what decides a snapshot's bytes beside its pinned weights: no other edit fetches them again."""
    if MODELS[wildcards.model].weights.kind == "random":
        return code_digest("models.random_weights")
    return code_digest("models.convert", without=["models.architectures", "models.palm"])


def run_code(wildcards):
    """The fingerprint of the code that a run executes: its own procedure and strategy, and no other."""
    run = RUNS[wildcards.run]
    procedure = {"baseline": "baseline", "gsfs": "classify", "edge-fit": "instruct"}
    used = [f"procedures.{procedure['baseline' if run.baseline else run.study]}"]
    if run.strategy:
        used.append(f"federation.strategies.{run.strategy.kind}")
    return code_digest("running", *used, without={f"procedures.{name}" for name in procedure.values()} - set(used))


def memory(wildcards, input):
    """Megabytes to set aside for a run: the libraries, and the base model with activations and gradients."""
    return model_memory(snapshot(wildcards))


def teaching_memory(wildcards, input):
    """Megabytes to set aside for Self-Instruct: those of a data job, or those of the teacher."""
    return model_memory(snapshot_of(TEACHER)) if TEACHER else 500


def model_memory(folder):
    """Megabytes for the libraries and for four times the weights in a folder."""
    weights = [path.stat().st_size for path in Path(folder).iterdir()] if folder else []
    return 1000 + 4 * sum(weights) // 2**20


# --- what the targets are ---

TABLES = contents.table_names(EXPERIMENT)
FIGURES = contents.figure_names(EXPERIMENT)
TABLE_CODE = code_digest("reporting.build", without=["reporting.figures", "reporting.page"])


def run_files(name=None):
    """All files of all runs, or one of the five."""
    return [f"{RESULTS}/runs/{run}/{file}" for run in RUNS for file in ([name] if name else RUN_FILES)]


def datasets(studies=("gsfs", "edge-fit")):
    """The data sets of the studies that the experiment has, with their partitions over clients."""
    used = {f"{DATA[run.study]}/clients-{run.partition}.parquet" for run in RUNS.values() if run.study in studies}
    return [f"{DATA[study]}/dataset.parquet" for study in studies if study in DATA] + sorted(used)


def data_accounts(studies=("gsfs", "edge-fit")):
    """What each stage did to the rows of each class, and how far memory alone would get."""
    files = {
        "gsfs": ("clean-ledger.json", "sample-ledger.json", "split-ledger.json", "leakage.csv")
        + (("captures.csv",) if CAPTURES else ()),
        "edge-fit": ("filter-ledger.json", "augment-ledger.json", "split-ledger.json", "leakage.csv"),
    }
    return [f"{DATA[study]}/{file}" for study in studies if study in DATA for file in files[study]]


def snapshots():
    """The base models of all runs, and the teacher of Self-Instruct."""
    return [f"{SNAPSHOTS}/{name}" for name in MODELS]


def tables(suffixes=("md", "csv", "tex", "html")):
    """Every table in every format."""
    return [f"{RESULTS}/tables/{name}.{suffix}" for name in TABLES for suffix in suffixes]


def table_files(stem):
    """One table as Markdown, CSV, LaTeX and HTML; the last is what the report shows."""
    shown = report(
        f"{stem}.html",
        category="2 Tables",
        subcategory="Beside the papers" if stem.endswith("-verdict") else "Ours",
        caption="../workflow/report/table.rst",
        labels={"table": Path(stem).name},
    )
    return [f"{stem}.md", f"{stem}.csv", f"{stem}.tex", shown]


def figures():
    """Every figure, for screens and for print."""
    return [f"{RESULTS}/figures/{name}.{suffix}" for name in FIGURES for suffix in ("svg", "png")]


def summary():
    """The page that gathers tables and figures."""
    return [f"{RESULTS}/summary.html"]


def provenance():
    """Where the results come from."""
    return [f"{RESULTS}/manifest.json", f"{RESULTS}/config.resolved.yaml"]
