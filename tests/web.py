"""A web server on the loopback whose every answer a test writes, and which remembers what it was asked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from urllib.parse import urlsplit

Answer = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    protocol_version = "HTTP/1.1"
    server: "Web"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked.append((path, dict(self.headers)))
        self.close_connection = True
        answers = self.server.answers.get(path, [missing])
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def reply(self, status: int, body: bytes = b"", *, length: int | None = None, **headers: str) -> None:
        """Answer; `length` is the Content-Length to claim."""
        self.send_response(status)
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    @property
    def start(self) -> int:
        """The first byte that is asked for."""
        wanted = self.headers.get("Range", "bytes=0-")
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Web(ThreadingHTTPServer):
    """The server; `answers` has, for a path, what to answer in turn, the last one for good."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.over = Event()  # set at the end, so that a stalling answer lets go

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"http://127.0.0.1:{self.server_port}{path}"

    def ranges(self) -> list[str | None]:
        """Return what each request asked for: a range, or None for all."""
        return [headers.get("Range") for _, headers in self.asked]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""


@contextmanager
def serving() -> Iterator[Web]:
    """Run a server until the block ends."""
    with Web() as web:
        thread = Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield web
        finally:
            web.over.set()
            web.shutdown()
            thread.join()


def missing(exchange: Exchange) -> None:
    """There is no such file."""
    exchange.reply(404)


def status(code: int) -> Answer:
    """Answer with a status and nothing else."""
    return lambda exchange: exchange.reply(code)


def whole(body: bytes, **headers: str) -> Answer:
    """Send everything, whatever was asked for: a server without ranges."""
    return lambda exchange: exchange.reply(200, body, **headers)


def ranged(body: bytes, etag: str = '"1"') -> Answer:
    """Send what is asked for, as RFC 9110 has it: all of it where the file has changed since."""

    def answer(exchange: Exchange) -> None:
        start, same = exchange.start, exchange.headers.get("If-Range") == etag
        if start and same:
            content = f"bytes {start}-{len(body) - 1}/{len(body)}"
            exchange.reply(206, body[start:], ETag=etag, Content_Range=content)
        else:
            exchange.reply(200, body, ETag=etag)

    return answer


def truncated(body: bytes, sent: int, etag: str = '"1"') -> Answer:
    """Claim everything, send the first bytes, hang up."""
    return lambda exchange: exchange.reply(200, body[:sent], length=len(body), ETag=etag)


def stalling(body: bytes, sent: int, etag: str = '"1"') -> Answer:
    """Claim everything, send the first bytes, then nothing more, without hanging up."""

    def answer(exchange: Exchange) -> None:
        exchange.reply(200, body[:sent], length=len(body), ETag=etag)
        assert isinstance(exchange.server, Web)
        exchange.server.over.wait(30)

    return answer
