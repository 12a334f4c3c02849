"""pip-audit over the locks: known vulnerabilities of pinned packages, or the plain word that nobody could be asked.

Exit code 0: none known, or the service was out of reach (said, never passed over); 1: some are known.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCKS = sorted((Path(__file__).resolve().parents[1] / "envs").glob("*.txt"))
KNOWN = "jinja2==2.4"  # CVE-2014-1402 and others: a service that does not tell of them tells nothing
SECONDS = 120


def pins(lock: Path) -> set[str]:
    """Return the pinned requirements of a lock, without those of the locks that it includes."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    # `+cpu` and `+cu130` name builds; the version without it is the one that vulnerabilities are filed under.
    return {line.split(";")[0].split("+")[0].strip() for line in lines if "==" in line and not line.startswith("#")}


def audit(requirements: set[str]) -> list[dict[str, Any]] | None:
    """Return what pip-audit says of each package, or None where its service does not answer."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as stream:
        stream.write("\n".join(sorted(requirements)))
        stream.flush()
        command = [sys.executable, "-m", "pip_audit", "--requirement", stream.name, "--no-deps", "--disable-pip"]
        try:
            answer = subprocess.run(
                [*command, "--format", "json", "--progress-spinner", "off"],
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            return None
    try:
        found: list[dict[str, Any]] = json.loads(answer.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        return None
    return found


def main() -> int:
    """Audit every lock."""
    told = audit({KNOWN})
    if not told or not any(package.get("vulns") for package in told):
        print(f"pip-audit SKIPPED: its service does not answer here (it knows no vulnerability of {KNOWN})")
        return 0
    found = audit(set().union(*map(pins, LOCKS)))
    if found is None:
        print("pip-audit SKIPPED: its service stopped answering")
        return 0
    for package in found:
        for vulnerability in package.get("vulns", []):
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version"
            print(f"{package['name']} {package['version']}: {vulnerability['id']}, mended in {fixed}")
        if "skip_reason" in package:
            print(f"{package['name']}: not audited: {package['skip_reason']}")
    return int(any(package.get("vulns") for package in found))


if __name__ == "__main__":
    sys.exit(main())
