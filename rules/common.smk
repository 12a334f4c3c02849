# The only helpers: the validated configuration, the run table it expands to, and which files each target is.

import errno
import functools
import gc
import json
import mimetypes
import os
import shlex
import sys
from pathlib import Path

HOME = Path(workflow.basedir)
sys.path.insert(0, str(HOME / "workflow"))

from fedbench import demand, records
from fedbench import engine
from fedbench import experiment as experiments
from fedbench import runs as run_table
from fedbench.digest import code_digest, script_digest
from fedbench.errors import FedbenchError
from fedbench.manifest import COMMAND
from fedbench.reporting import captions, contents
from fedbench.spec import MirrorSource, ModelSpec, OfficialFlows

# Every job inherits these: idle OpenMP threads sleep (spinning costs a busy machine a factor of five), torch asks for
# huge pages for large tensors (6 % faster, 3 % less memory: less is lost between them), the package is found where it
# is not installed, the manifest learns the command, and Flower does not call home.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
os.environ.setdefault(COMMAND, shlex.join(["snakemake", *sys.argv[1:]]))
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [str(HOME / "workflow"), os.environ.get("PYTHONPATH")])),
    FLWR_TELEMETRY_ENABLED="0",
    FLWR_DISABLE_UPDATE_CHECK="1",
)

# A plan of thousands of runs is millions of objects that stay: looking through them for cycles is a sixth of the time.
gc.set_threshold(200_000, 50, 50)

# So that the report shows YAML as text and does not warn.
mimetypes.add_type("text/plain", ".yaml")


# --- the experiment and its runs ---

CONFIG = Path(os.path.relpath(HOME / "config"))
FILES = [os.path.relpath(path) for path in workflow.config_settings.configfiles]
ORIGIN = " + ".join(FILES or [f"{CONFIG}/experiments/{config.get('experiment')}.yaml"])
if workflow.config_settings.config:
    ORIGIN += " + --config"

# `--config partial=true`: tables and report of what is there. Nothing is fetched or trained, what is missing is named.
ASKED = str(config.pop("partial", False)).lower()  # no key of the experiment: the engine passes `true` as text
if ASKED not in ("true", "false"):
    raise WorkflowError(f"--config: key 'partial', value {ASKED!r}: it must be true or false.")
PARTIAL = ASKED == "true"

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
# What the engine knows of each file lies with the files: who restores results/ restores it as well. A call that only
# looks makes no folder for it.
if records.HOME.is_dir() or not engine.only_reads(sys.argv[1:]):
    records.keep()

if workflow.is_main_process:
    try:
        engine.claim(Path(RESULTS), sys.argv[1:])
    except FedbenchError as error:
        raise WorkflowError(str(error)) from None

SCORES = [f"{RESULTS}/scores/scores.parquet", f"{RESULTS}/scores/runs.parquet"]
HISTORIES = f"{RESULTS}/scores/histories.parquet"
SNAPSHOTS = f"{EXPERIMENT.results}/models"  # shared: no experiment fetches or converts the same weights again

DOWNLOADS = f"{EXPERIMENT.results}/downloads"  # shared as well, and no rule's output: an interrupted one goes on
CHECKSUMS = f"{CONFIG}/checksums.yaml"  # a parameter, not an input: a checksum that is recorded reruns nothing

# Addresses go to the download, counts to the comparison: a count that is corrected fetches nothing.
CAPTURES = run_table.captures(FLOWS.source, REGISTRY, ORIGIN) if FLOWS else {}
IS_OFFICIAL = FLOWS is not None and isinstance(FLOWS.source, OfficialFlows)
ADDRESSES = {name: capture.address for name, capture in CAPTURES.items() if IS_OFFICIAL}

# A snapshot depends on the weights alone: a new title or licence fetches nothing.
USED = {model.name: model for model in (TEACHER, *(run.model for run in RUNS.values())) if model}
SNAPSHOT_NAMES = {name: f"{name}-{model.weights.digest()}" for name, model in USED.items()}
MODELS = {SNAPSHOT_NAMES[name]: ModelSpec(name=name, title=name, weights=model.weights) for name, model in USED.items()}

RUN_FILES = ("adapter.safetensors", "history.parquet", "predictions.parquet", "usage.json", "manifest.json")


def there(paths):
    """These files; of a partial report those of them that are there."""
    return [path for path in paths if Path(path).exists()] if PARTIAL else paths


def is_whole(run):
    """Whether all files of a run are there."""
    return all(Path(f"{RESULTS}/runs/{run}/{file}").is_file() for file in RUN_FILES)


SHOWN = [run for run in RUNS if not PARTIAL or is_whole(run)]
WITH_RESULT = set(SHOWN)
MISSING = [run for run in RUNS if run not in WITH_RESULT]


# The form of a run's folder. Its names themselves, thousands of them, would be gone through for every file of the DAG:
# what is not in the run table is refused by `run_of`.
RUN = r"[a-z0-9][a-z0-9.-]*-[0-9a-f]{8}"


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


def run_of(wildcards):
    """The run that a file is of."""
    if wildcards.run not in RUNS:
        raise WorkflowError(f"{ORIGIN}: there is no run {wildcards.run!r}. Remedy: `fedbench check` lists them.")
    return RUNS[wildcards.run]


def dataset(wildcards):
    """The data set of a run and who holds what of it."""
    run = run_of(wildcards)
    folder = DATA[run.study]
    return {"dataset": f"{folder}/dataset.parquet", "clients": f"{folder}/clients-{run.partition}.parquet"}


def snapshot_of(model):
    """The folder of a model's snapshot; nothing where there is no model."""
    return f"{SNAPSHOTS}/{SNAPSHOT_NAMES[model.name]}" if model else []


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
    return procedure_code("baseline" if run.baseline else run.study, run.strategy.kind if run.strategy else None)


@functools.cache
def procedure_code(study, strategy):
    """The fingerprint of one procedure with one kind of strategy; thousands of runs share a few."""
    procedure = {"baseline": "baseline", "gsfs": "classify", "edge-fit": "instruct"}
    used = [f"procedures.{procedure[study]}"]
    if strategy:
        used.append(f"federation.strategies.{strategy}")
    return code_digest("running", *used, without={f"procedures.{name}" for name in procedure.values()} - set(used))


# --- what a run asks of a machine ---
# A profile says where the tiers are, under the names of the tiers: `set-resources: {edge: {...}}`.

SETTINGS = workflow.resource_settings
PLACES = {tier: SETTINGS._parsed_overwrite_resources.get(tier, {}) for tier in (*demand.LADDER, "local")}
OFFERED = [tier for tier in demand.LADDER if PLACES[tier]] or demand.LADDER
ATTEMPTS = getattr(SETTINGS._parsed_overwrite_resources.get("run", {}).get("attempts"), "value", None)
MOST_GPUS = workflow.global_resources.get("gpu_count").value


def demand_of(name, attempt=1):
    """Tier, memory, GPU and time of an attempt at a run."""
    model = RUNS[name].model
    return reckoned(name, attempt, bool(model) and os.path.isdir(snapshot_of(model)))


@functools.cache
def reckoned(name, attempt, is_fetched):
    """What `demand_of` says, once for all resources of a job; it is another once the snapshot is there."""
    run = RUNS[name]
    study = {"gsfs": GSFS, "edge-fit": EDGE_FIT}[run.study]
    rows = study.flows.sample if run.study == "gsfs" else INSTRUCTIONS.keep + INSTRUCTIONS.self_instruct.count
    return demand.of(
        run,
        Path(snapshot_of(run.model)) if run.model else None,
        rows,
        REGISTRY.tiers,
        attempt=attempt,
        attempts=ATTEMPTS,
        offered=OFFERED,
        most_gpus=MOST_GPUS,
        predictions=Path(SNAPSHOTS, "memory"),
    )


def demanded(key):
    """A resource of a run: one key of what the attempt asks for; a figure that waits for the snapshot is unknown."""

    def resource(wildcards, input, attempt):
        asked = demand_of(wildcards.run, attempt)
        if key in ("mem_mb", "minutes") and getattr(asked, key) is None:
            raise FileNotFoundError(errno.ENOENT, "no snapshot yet", input.snapshot)
        return getattr(asked, key)

    return resource


def demands():
    """The resources that an attempt decides: no more than have a meaning here, as each is worked out for every run."""
    asked = {"mem_mb": demanded("mem_mb"), "runtime": demanded("minutes"), "gpu_count": demanded("gpus")}
    if MOST_GPUS != 0:
        asked["vram_mb"] = demanded("vram_mb")
    if MOST_GPUS != 0 or ATTEMPTS is not None:
        asked["refusal"] = demanded("refusal")
    if ATTEMPTS is not None:
        asked["attempts_left"] = lambda wildcards, attempt: ATTEMPTS - attempt
    return asked


def placed(key, tier):
    """A resource as the profile gives it for the tier of an attempt, and to the small jobs where it says nothing."""

    def resource(wildcards, input, attempt, threads):
        place = PLACES[tier(wildcards, attempt)]
        given = place[key] if key in place else SETTINGS._parsed_default_resources.get(key)
        aux = dict(input=input, attempt=attempt, threads=threads, rulename="", async_run=workflow.async_run)
        return given.evaluate(wildcards, **aux).value

    return resource


def places(tier):
    """All resources that the profile gives to a tier, itself a function of wildcards and attempt."""
    return {key: placed(key, tier) for key in sorted({key for place in PLACES.values() for key in place})}


def run_tier(wildcards, attempt):
    """The tier of an attempt at a run."""
    return demand_of(wildcards.run, attempt).tier


def teaching_tier(wildcards, attempt):
    """The tier of the teacher of Self-Instruct; the template teacher has none."""
    if not TEACHER or TEACHER.tier not in demand.LADDER:
        return "local"
    above = [tier for tier in OFFERED if demand.LADDER.index(tier) >= demand.LADDER.index(TEACHER.tier)]
    return (above or OFFERED[-1:])[: max(attempt, 1)][-1]


def teaching_memory(wildcards, input, attempt):
    """Megabytes to set aside for Self-Instruct: those of a data job, or those of the teacher."""
    return attempt * (model_memory(snapshot_of(TEACHER)) if TEACHER else 500)


def model_memory(folder):
    """Megabytes for the libraries and for four times the weights in a folder."""
    weights = [path.stat().st_size for path in Path(folder).iterdir()]
    return demand.LIBRARIES + 4 * sum(weights) // 2**20


def report_misfits():
    """Say before anything is submitted which runs go to a larger tier, and stop where there is none."""
    asked = [demand_of(name) for name in RUNS]
    for moved in dict.fromkeys(each.moved for each in asked if each.moved):
        logger.warning(f"Tier: {moved}.")
    if refused := list(dict.fromkeys(each.refusal for each in asked if each.refusal)):
        raise WorkflowError(
            *refused,
            "Remedy: quantise these models, shorten their batches, leave them out, or name a larger tier in the profile.",
        )


if not workflow.remote_exec and not PARTIAL:
    report_misfits()


# --- what the targets are ---

TABLES = contents.table_names(EXPERIMENT)
FIGURES = contents.figure_names(EXPERIMENT)
TABLE_CODE = code_digest(  # captions are a parameter of the one table or figure that they belong to
    "reporting.build", without=[f"reporting.{name}" for name in ("captions", "figures", "memory_table", "page")]
)


def run_files(name=None):
    """All files of all runs, or one of the five."""
    return [f"{RESULTS}/runs/{run}/{file}" for run in SHOWN for file in ([name] if name else RUN_FILES)]


def datasets(studies=("gsfs", "edge-fit")):
    """The data sets of the studies that the experiment has, with their partitions over clients."""
    used = {f"{DATA[run.study]}/clients-{run.partition}.parquet" for run in RUNS.values() if run.study in studies}
    return there([f"{DATA[study]}/dataset.parquet" for study in studies if study in DATA] + sorted(used))


def data_accounts(studies=("gsfs", "edge-fit")):
    """What each stage did to the rows of each class, and how far memory alone would get."""
    files = {
        "gsfs": ("clean-ledger.json", "sample-ledger.json", "split-ledger.json", "leakage.csv")
        + (("captures.csv",) if CAPTURES else ()),
        "edge-fit": ("filter-ledger.json", "augment-ledger.json", "split-ledger.json", "leakage.csv"),
    }
    return there([f"{DATA[study]}/{file}" for study in studies if study in DATA for file in files[study]])


def snapshots():
    """The base models of all runs, and the teacher of Self-Instruct."""
    return there([f"{SNAPSHOTS}/{name}" for name in MODELS])


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
