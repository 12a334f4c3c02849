"""Where a result came from: versions, host and commit; and what a job cost."""

import functools
import os
import platform
import resource
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "fedbench", "snakemake", "torch", "transformers", "peft", "bitsandbytes", "flwr", "polars", "scikit-learn", "numpy",
)  # fmt: skip

JOB = "fedbench job: "
"""How the last line of a job's log begins; what `job` returns follows, as JSON."""


@functools.cache
def describe() -> dict[str, Any]:
    """Return {"versions", "host", "commit", "dirty"} of this process."""
    return {"versions": versions(), "host": host(), **commit()}


def versions() -> dict[str, str]:
    """Return the installed version of each package that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def host() -> dict[str, Any]:
    """Return the machine: name, system, processor, cores given to this process, memory in bytes and GPUs."""
    return {
        "name": socket.gethostname(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0")) or None,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": gpus(),
    }


def gpus(driver: Path = Path("/proc/driver/nvidia/gpus")) -> list[dict[str, Any]]:
    """Return name and memory in bytes of each GPU: those that torch sees, where a job uses it; else the driver's.

    The driver's list has no memory, and holds GPUs that the scheduler gave to others.
    """
    torch = sys.modules.get("torch")  # an import would cost a small job more than its work
    if torch is not None and torch.cuda.is_available():
        seen = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())]
        return [{"name": each.name, "memory_bytes": each.total_memory} for each in seen]
    found = []
    for path in sorted(driver.glob("*/information")):
        told = dict(line.split(":", 1) for line in path.read_text(encoding="utf-8").splitlines() if ":" in line)
        found.append({"name": told.get("Model", "unknown").strip(), "memory_bytes": None})
    return found


def job(begun: float) -> dict[str, Any]:
    """Return what a job cost that began at `begun` (time.monotonic), and where it ran.

    Returns:
        seconds, cpu_seconds and peak_rss_bytes of this process and its children; versions, host, commit and dirty.
    """
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "seconds": round(time.monotonic() - begun, 3),
        "cpu_seconds": round(sum(each.ru_utime + each.ru_stime for each in used), 3),
        "peak_rss_bytes": max(each.ru_maxrss for each in used) * 1024,
        **describe(),
    }


def commit() -> dict[str, Any]:
    """Return the commit of the checkout that this package lies in, and whether tracked files differ from it."""
    folder = Path(__file__).parent
    head = _git(folder, "rev-parse", "HEAD")
    return {"commit": head or "unknown", "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def _git(folder: Path, *arguments: str) -> str:
    try:
        answer = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
