"""Submit a jobscript of Snakemake as a Kubernetes job through kubectl, say how a job stands, or delete jobs.

    pod.py submit --image ... --claim ... --mount ... [--memory MB ...] JOBSCRIPT     prints the job's name
    pod.py status NAME                                                                prints running, success or failed
    pod.py cancel NAME ...

Snakemake's own Kubernetes executor copies all files to an object store and back; here every pod sees one volume.
"""

import argparse
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any


def manifest(asked: argparse.Namespace) -> dict[str, Any]:
    """Return the job: one pod that runs the jobscript on the volume, ended at its limits, never restarted."""
    limits = {"cpu": str(asked.cpus), "memory": f"{asked.memory}M"}
    if asked.gpus:
        limits["nvidia.com/gpu"] = str(asked.gpus)
    container = {
        "name": "job",
        "image": asked.image,
        "command": ["/bin/sh", asked.jobscript],
        "workingDir": os.getcwd(),
        # Requests are the limits where nothing else is said: a GPU must have one, and memory should.
        "resources": {"limits": limits},
        "volumeMounts": [{"name": "shared", "mountPath": asked.mount}],
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": 60 * asked.minutes,
        "containers": [container],
        "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": asked.claim}}],
    }
    if asked.node:
        key, _, value = asked.node.partition("=")
        pod["nodeSelector"] = {key: value}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"fedbench-{uuid.uuid4().hex[:12]}", "labels": {"app": "fedbench"}},
        "spec": {"backoffLimit": 0, "ttlSecondsAfterFinished": 86_400, "template": {"spec": pod}},
    }


def state(job: dict[str, Any]) -> str:
    """Return the state of a job in the words of Snakemake."""
    ended = {each["type"] for each in job.get("status", {}).get("conditions", []) if each["status"] == "True"}
    return "success" if "Complete" in ended else "failed" if "Failed" in ended else "running"


def kubectl(*arguments: str, text: str | None = None) -> str:
    """Return what kubectl prints; its faults go to the terminal."""
    return subprocess.run(["kubectl", *arguments], input=text, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    submit = commands.add_parser("submit")
    for name in ("image", "claim", "mount"):
        submit.add_argument(f"--{name}", required=True)
    for name, default in (("memory", 1000), ("cpus", 1), ("minutes", 60), ("gpus", 0)):
        submit.add_argument(f"--{name}", type=int, default=default)
    submit.add_argument("--node", default="", help="label=value of the nodes")
    submit.add_argument("jobscript")
    commands.add_parser("status").add_argument("name")
    commands.add_parser("cancel").add_argument("names", nargs="+")
    asked = parser.parse_args()
    if asked.command == "submit":
        if Path(asked.mount).resolve() not in Path(asked.jobscript).resolve().parents:
            sys.exit(f"{asked.jobscript} does not lie on the volume at {asked.mount}: start the workflow there")
        made = manifest(asked)
        kubectl("create", "-f", "-", text=json.dumps(made))
        print(made["metadata"]["name"])
    elif asked.command == "status":
        print(state(json.loads(kubectl("get", "job", asked.name, "-o", "json"))))
    else:
        kubectl("delete", "job", "--ignore-not-found", "--wait=false", *asked.names)


if __name__ == "__main__":
    main()
