"""Measurements that each have a process of their own, so that none inherits another's memory or warm caches."""

import json
import subprocess
import sys
from typing import Any


def isolated(file: str, name: str, *arguments: str) -> dict[str, Any]:
    """Run the measurement `name` of a benchmark's file in a fresh process; returns the JSON object it printed last."""
    answer = subprocess.run([sys.executable, file, name, *arguments], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(f"benchmark {name} failed:\n{answer.stderr[-2000:]}")
    measured: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return measured
