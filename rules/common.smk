# The only helpers: the validated configuration, the run table it expands to, and which files each target is.

import os
import sys
from pathlib import Path

HOME = Path(workflow.basedir)
sys.path.insert(0, str(HOME / "workflow"))

from fedbench import experiment as experiments
from fedbench.digest import code_digest
from fedbench.errors import FedbenchError
from fedbench.reporting import captions
from fedbench.spec import MirrorSource

# Every job inherits these. Spinning OpenMP threads cost a busy machine a factor of five; the path makes the package
# importable where it is not installed; Flower must not call home or install anything.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HOME / "workflow"), os.environ.get("PYTHONPATH")]))
os.environ.update({"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"})


# --- the experiment and its runs ---

try:
    ORIGIN = " + ".join(os.path.relpath(path) for path in workflow.config_settings.configfiles) or None
    REGISTRY = experiments.read_registry(HOME / "config")
    EXPERIMENT = experiments.load(config, folder=HOME / "config", origin=ORIGIN)
    RUNS = experiments.runs(EXPERIMENT, REGISTRY, where=ORIGIN or "configuration")
except FedbenchError as error:
    raise WorkflowError(str(error)) from None

GSFS, EDGE_FIT = EXPERIMENT.gsfs, EXPERIMENT.edge_fit
FLOWS = GSFS.flows if GSFS else None
INSTRUCTIONS = EDGE_FIT.instructions if EDGE_FIT else None
MODELS = {f"{run.model.name}-{run.model.digest()}": run.model for run in RUNS.values() if run.model}

RESULTS = f"{EXPERIMENT.results}/{EXPERIMENT.experiment}"
IOT23, DOLLY = f"{RESULTS}/data/iot23", f"{RESULTS}/data/dolly"
SNAPSHOTS = f"{EXPERIMENT.results}/models"  # shared: no experiment fetches or converts the same weights again
SCORES = [f"{RESULTS}/scores/scores.parquet", f"{RESULTS}/scores/runs.parquet"]
RUN_FILES = ("adapter.safetensors", "history.parquet", "predictions.parquet", "usage.json", "manifest.json")


def any_of(names):
    """A regular expression for exactly these names; where there are none, one that matches nothing."""
    return "|".join(map(re.escape, sorted(names))) or "(?!)"
