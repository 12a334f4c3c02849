"""Where a result came from: versions, host and commit."""

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "fedbench", "snakemake", "torch", "transformers", "peft", "bitsandbytes", "flwr", "polars", "scikit-learn", "numpy",
)  # fmt: skip


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
    """Return the machine: system, processor, cores given to this process and memory in bytes."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0")) or None,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
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
