"""One SuperLink and its SuperNodes on loopback: TLS, registered node keys, free ports, a private folder."""

import json
import os
import shutil
import socket
import ssl
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import fedbench
from fedbench.errors import FedbenchError
from fedbench.federation.deployment.keys import LOOPBACK, NODE_KEY, Authority, node_key
from fedbench.federation.deployment.processes import Processes

CONNECTION = "fedbench"  # name of the Flower CLI's connection; one that is not named starts a SuperLink of its own
UP = 120.0  # seconds in which the SuperLink must answer, and a node reach it

# Nothing calls home, nothing is installed, and a process is started for a message without a second's wait.
ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
    "NO_COLOR": "1",
    "TERM": "dumb",
    "COLUMNS": "500",
}

APP = """\
[project]
name = "fedbench-deployed"
version = "1.0.0"
description = "A run of fedbench on Flower's deployment"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedbench"

[tool.flwr.app.components]
serverapp = "fedbench.serving:server"
clientapp = "fedbench.federation.deployment.node:app"

[tool.flwr.app.config]
job = ""
"""


@dataclass(frozen=True)
class Node:
    """A registered SuperNode: its number, Flower's id of it, and the folder that it alone reads."""

    number: int
    id: int
    folder: Path


class Deployment:
    """A running SuperLink with registered, running SuperNodes; use as a context manager.

    The private folder (mode 0700) holds every key and the nodes' rows. It is removed at the end unless `keep`.

    Args:
        nodes: how many SuperNodes.
        logs: folder of the processes' logs.
        environment: for all processes, over this one's.
    """

    def __init__(self, nodes: int, logs: Path, environment: Mapping[str, str] | None = None, *, keep: bool = False):
        self.folder = Path(tempfile.mkdtemp(prefix="fedbench-deployment-"))  # mode 0700
        self.nodes: list[Node] = []
        self._count, self._keep, self._port = nodes, keep, 0
        source = str(Path(fedbench.__file__).parents[1])
        paths = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")])),
        }
        self.processes = Processes({**ENVIRONMENT, **paths, **(environment or {})}, logs)
        self._authority = Authority()
        self.root = self._authority.write(self.folder / "ca.crt")

    def __enter__(self) -> "Deployment":
        try:
            self._start_superlink()
            with ThreadPoolExecutor() as pool:  # most of a registration is starting Flower's CLI
                self.nodes = list(pool.map(self.register, range(self._count)))
            for node in self.nodes:
                self._start_node(node)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End every process and remove the private folder."""
        try:
            self.processes.stop()
        finally:
            if not self._keep:
                shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def address(self) -> str:
        """`host:port` of the SuperLink."""
        return f"{LOOPBACK}:{self._port}"

    def submit(self, job: Path) -> str:
        """Submit the app, with the file that tells its server what to do; return the run's id."""
        app = self.folder / "app"
        app.mkdir(exist_ok=True)
        (app / "pyproject.toml").write_text(APP, encoding="utf-8")
        answer = self.flower("run", app, CONNECTION, "--run-config", f"job={json.dumps(str(job))}")
        return str(answer["run-id"])

    def status(self, run: str) -> str:
        """Return Flower's status of a run: pending, starting, running, finished:completed, finished:failed, ..."""
        return str(self.flower("list", CONNECTION, "--run-id", run)["runs"][0]["status"])

    def online(self) -> set[int]:
        """Return the ids of the SuperNodes that are connected."""
        found = self.flower("supernode", "list", CONNECTION)["nodes"]
        return {int(node["node-id"]) for node in found if node["status"] == "online"}

    def flower(self, *arguments: object) -> dict[str, Any]:
        """Run a command of Flower's own CLI against this SuperLink and return its JSON."""
        text = self.processes.run(
            [_program("flwr"), *arguments, "--format", "json"], {"FLWR_HOME": str(self.folder / "cli")}
        )
        answer: dict[str, Any] = json.loads(text)
        return answer

    def register(self, number: int) -> Node:
        """Make a node's key pair and tell the SuperLink of its public half; the node is not started."""
        folder = self.folder / f"supernode-{number}"
        _, public = node_key(folder)
        return Node(number, int(self.flower("supernode", "register", public, CONNECTION)["node-id"]), folder)

    def supernode(self, name: str, *options: object, port: int | None = None) -> list[object]:
        """Return the command of a SuperNode, with a fresh certificate for the interface that its own processes use."""
        certificate, key = self._authority.issue(self.folder / name)
        return [
            _program("flower-supernode"),
            *("--superlink", self.address, "--host", LOOPBACK, "--port", port or free_port()),
            *("--isolation", "subprocess", "--max-wait-time", UP),
            *("--ssl-certfile", certificate, "--ssl-keyfile", key, "--ssl-ca-certfile", self.root),
            *options,
        ]

    def _start_superlink(self, attempts: int = 3) -> None:
        certificate, key = self._authority.issue(self.folder / "superlink")
        for attempt in range(attempts):
            self._port = free_port()
            command = [
                _program("flower-superlink"),
                *("--host", LOOPBACK, "--port", self._port, "--isolation", "subprocess", "--enable-supernode-auth"),
                *("--ssl-certfile", certificate, "--ssl-keyfile", key, "--ssl-ca-certfile", self.root),
                "--disable-runtime-dependency-installation",
            ]
            self.processes.start("superlink", command, {"FLWR_HOME": str(self.folder / "superlink")})
            try:
                self._await_superlink()
                break
            except FedbenchError:
                # Between looking for a free port and taking it, somebody else may have.
                if attempt + 1 == attempts or "in use" not in self.processes.log("superlink").read_text():
                    raise
        connection = f'[superlink.{CONNECTION}]\naddress = "{self.address}"\nroot-certificates = "{self.root}"\n'
        (self.folder / "cli").mkdir(exist_ok=True)
        (self.folder / "cli" / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n{connection}', encoding="utf-8"
        )

    def _await_superlink(self) -> None:
        trust = ssl.create_default_context(cafile=str(self.root))
        deadline = time.monotonic() + UP
        while True:
            try:
                url = f"https://{self.address}/health"
                urllib.request.urlopen(url, context=trust, timeout=2).close()  # nosec B310
                return
            except (urllib.error.URLError, OSError) as silence:
                self.processes.check()
                if time.monotonic() > deadline:
                    raise FedbenchError(f"the SuperLink does not answer: {silence}") from silence
                time.sleep(0.1)

    def _start_node(self, node: Node) -> None:
        config = f'partition-id={node.number} num-partitions={self._count} job="{node.folder / "job"}"'
        command = self.supernode(
            node.folder.name,
            *("--root-certificates", self.root, "--auth-supernode-private-key", node.folder / NODE_KEY),
            *("--node-config", config),
        )
        self.processes.start(node.folder.name, command, {"FLWR_HOME": str(node.folder)})


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _program(name: str) -> Path:
    """Return one of Flower's commands, of the same environment as this Python."""
    return Path(sys.executable).with_name(name)
