"""A model hub on this machine: answers the client's requests for repositories made of local folders, or refuses."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(ThreadingHTTPServer):
    """`repositories`: id -> folder. Ids that begin with `gated/`, `private/`, `down/` or `mute/` behave as they say."""

    daemon_threads = True

    def __init__(self, repositories: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        owner, name, what, revision, *file = parts[2:] if is_api else parts
        folder = self.server.repositories.get(f"{owner}/{name}")
        if owner == "mute":
            time.sleep(8)  # longer than the client waits
        elif owner == "down":
            self._send(503, {}, body)
        elif owner == "private":
            self._send(401, {"X-Error-Code": "RepoNotFound"}, body)
        elif folder is None:
            self._send(404, {"X-Error-Code": "RepoNotFound"}, body)
        elif revision not in ("main", COMMIT):
            self._send(404, {"X-Error-Code": "RevisionNotFound"}, body)
        elif is_api:  # the hub shows the metadata of gated models to everybody
            self._send_json(self._metadata(folder, what))
        elif owner == "gated":
            self._send(403, {"X-Error-Code": "GatedRepo"}, body)
        else:
            content = (folder / "/".join(file)).read_bytes()
            tag = hashlib.sha256(content).hexdigest()
            self._send(200, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}, body, content)

    def _metadata(self, folder: Path, what: str) -> object:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        names = [path.relative_to(folder).as_posix() for path in files]
        if what == "tree":
            return [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": "0" * 40}
                for name, path in zip(names, files, strict=True)
            ]
        return {"id": folder.name, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}

    def _send_json(self, value: object) -> None:
        self._send(200, {"Content-Type": "application/json"}, True, json.dumps(value).encode())

    def _send(self, status: int, headers: dict[str, str], body: bool, content: bytes = b"") -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextmanager
def serving(repositories: dict[str, Path]) -> Iterator[FakeHub]:
    """Yield a hub that answers until the end of the block."""
    hub = FakeHub(repositories)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
