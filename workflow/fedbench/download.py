"""A file from a web server: resumed where it broke off, checked, and there whole or not at all."""

import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from fedbench.errors import FedbenchError
from fedbench.files import sha256 as sum_of
from fedbench.files import write_json, write_text
from fedbench.progress import Bar

_AGAIN = "Run the same command again: what has come is kept and the download goes on from there."
_MIB = 2**20
_LONGEST_PAUSE = 60.0  # seconds


class _PassingError(Exception):
    """A fault that may be gone at the next attempt."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    checksums: Path | None = None,
    look: Callable[[Path], object] | None = None,
    timeout: float = 60.0,
    attempts: int = 5,
    pause: float = 1.0,
) -> str:
    """Provide `url` as `target` and return its SHA-256; a target that is already there is checked, not fetched again.

    What has come lies in `<target>.part`, and beside it which version of the file it is, so that an interrupted
    download goes on where it stopped, also in a later run, unless the file has changed on the server in between.

    Args:
        url: http or https address; redirects are followed.
        target: appears when the file is complete and its checksum is right.
        sha256: the checksum to expect.
        checksums: YAML file of address -> SHA-256, for files without `sha256`; an address that it lacks is added, and
            checked from then on.
        look: called with what has come, before it is taken: raises where it is something else, such as a page that
            asks for a login, whose checksum must not be recorded.
        timeout: seconds without a byte after which an attempt is given up.
        attempts: attempts in a row that bring nothing new before the download fails.
        pause: seconds before the second attempt; doubled each time.

    Raises:
        FedbenchError: the server refuses or lacks the file, the attempts are used up, a checksum is wrong, or `look`
            does not know what came.
    """
    expected = sha256 or _recorded(checksums, url)
    if target.is_file():
        found = sum_of(target)
        _check(url, target, found, expected, checksums)
    else:
        part = _beside(target, ".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        _complete(url, part, timeout, attempts, pause)
        found = sum_of(part)
        try:
            _check(url, None, found, expected, checksums)
            if look:
                _look(look, part, url)
        except FedbenchError:
            part.unlink()  # wrong bytes are nothing to go on from
            raise
        part.replace(target)
        _beside(part, ".json").unlink()
    if checksums is not None and expected is None:
        _record(checksums, url, found)
    return found


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


# --- bytes --------------------------------------------------------------------------------------------------------


def _complete(url: str, part: Path, timeout: float, attempts: int, pause: float) -> None:
    """Fetch until `part` is complete; an attempt that brings a mebibyte more than any before it starts a new count."""
    failures, longest = 0, _size(part)
    with httpx.Client(follow_redirects=True, timeout=timeout) as client, Bar("download") as bar:
        while True:
            try:
                _attempt(client, url, part, bar)
                return
            except _PassingError as fault:
                came = _size(part)
                failures = 1 if came >= longest + _MIB else failures + 1
                longest = max(longest, came)
                if failures >= attempts:
                    what = f"the download failed {failures} times in a row, last: {fault}"
                    raise FedbenchError(f"{what} ({came:,} bytes are kept)", where=url, remedy=_AGAIN) from fault
                time.sleep(min(pause * 2 ** (failures - 1), _LONGEST_PAUSE))
            except OSError as error:
                what = f"cannot be written: {error.strerror or error}"
                remedy = f"Make room, or correct the folder's permissions. {_AGAIN}"
                raise FedbenchError(what, where=part, remedy=remedy) from error


def _attempt(client: httpx.Client, url: str, part: Path, bar: Bar) -> None:
    """Append to `part` what it lacks, or write it anew where the server sends the whole file."""
    state = _state(part, url)
    have = _size(part) if state.get("version") else 0
    if have and have == state.get("bytes"):
        return
    # Identity: a compressed answer has other bytes, another length and another checksum.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": state["version"]}
    try:
        with client.stream("GET", url, headers=headers) as response:
            resumed = have > 0 and response.status_code == httpx.codes.PARTIAL_CONTENT
            if have and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink()
                raise _PassingError(f"the server has no bytes after {have:,}; starting anew")
            if not (resumed or response.status_code == httpx.codes.OK):
                _refuse(response, url)
            if resumed and not _continues(response, have, state["version"]):
                part.unlink()
                raise _PassingError("the server sent another range, or of another version; starting anew")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise FedbenchError(
                    "the server sends it compressed although it was asked not to",
                    where=url,
                    remedy="Get the file by other means and use kind: mirror.",
                )
            length = response.headers.get("Content-Length")
            total = int(length) + (have if resumed else 0) if length else None
            with open(part, "ab" if resumed else "wb") as stream:
                if not resumed:
                    write_json(_beside(part, ".json"), {"url": url, "version": _version(response), "bytes": total})
                _copy(response, stream, bar, part, total)
    except httpx.TransportError as error:
        raise _fault(error, url) from error
    except (httpx.InvalidURL, httpx.RequestError) as error:
        raise FedbenchError(f"cannot be fetched: {error}", where=url, remedy="Correct the address.") from error
    if total is not None and _size(part) != total:
        raise _PassingError(f"{_size(part):,} of {total:,} bytes came")


def _copy(response: httpx.Response, stream: Any, bar: Bar, part: Path, total: int | None) -> None:
    remaining = (total or 0) - stream.tell()
    bar.stage(f"{part.parent.name}/{part.stem} (MiB)", max(0, -(-remaining // _MIB)))
    since = 0
    for piece in response.iter_raw():
        stream.write(piece)
        since += len(piece)
        for _ in range(since // _MIB):
            bar.advance()
        since %= _MIB


def _state(part: Path, url: str) -> Mapping[str, Any]:
    """Which version of the file `part` holds, or nothing where that is not known."""
    try:
        state = json.loads(_beside(part, ".json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return state if isinstance(state, dict) and state.get("url") == url else {}


def _version(response: httpx.Response) -> str | None:
    """What If-Range may name (RFC 9110, 13.1.5): a strong entity tag, else the time of the last change."""
    tag: str = response.headers.get("ETag", "")
    changed: str | None = response.headers.get("Last-Modified")
    return tag if tag and not tag.startswith("W/") else changed


def _continues(response: httpx.Response, have: int, version: str) -> bool:
    """Whether a partial answer is what follows on what is there, and of the same version where it says so."""
    begins: str = response.headers.get("Content-Range", "")
    return begins.startswith(f"bytes {have}-") and _version(response) in (None, version)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


# --- faults -------------------------------------------------------------------------------------------------------


def _refuse(response: httpx.Response, url: str) -> None:
    status = f"{response.status_code} {response.reason_phrase}".rstrip()
    if response.is_server_error or response.status_code in (408, 425, 429):
        raise _PassingError(f"the server answered {status}")
    if response.status_code in (401, 403):
        remedy = "Open the address in a browser: the publisher may ask for consent or a login. Then use kind: mirror."
    else:
        remedy = "Correct the address, or get the file by other means and use kind: mirror."
    raise FedbenchError(f"the server answered {status}", where=url, remedy=remedy)


def _fault(error: httpx.TransportError, url: str) -> Exception:
    if isinstance(error, httpx.UnsupportedProtocol):
        return FedbenchError(f"no address to fetch from: {error}", where=url, remedy="Give an http or https address.")
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return FedbenchError(
            f"the server's certificate cannot be verified: {error}",
            where=url,
            remedy="Name a bundle that holds its issuer in SSL_CERT_FILE, or get the file by other means and use "
            "kind: mirror. Verification is never switched off.",
        )
    return _PassingError(f"{type(error).__name__}: {error}".rstrip(": "))


# --- checksums ----------------------------------------------------------------------------------------------------


def _check(url: str, target: Path | None, found: str, expected: str | None, checksums: Path | None) -> None:
    """Compare sums; `target` is named where the wrong file was there before."""
    if expected is None or found == expected:
        return
    again = f"Delete {target} and run again" if target else "Run again"
    record = f"; if the publisher has changed the file on purpose, delete its line in {checksums}" if checksums else ""
    raise FedbenchError(
        f"wrong checksum: expected sha256 {expected}, found {found}", where=target or url, remedy=f"{again}{record}."
    )


def _look(look: Callable[[Path], object], part: Path, url: str) -> None:
    try:
        look(part)
    except FedbenchError as error:
        place = str(error.where).removeprefix(str(part)).lstrip(":")
        raise FedbenchError(
            f"what came is something else: {f'line {place}: ' if place else ''}{error.what}",
            where=url,
            remedy="Open the address in a browser to see what it gives. Nothing of it was kept.",
        ) from error


def _recorded(checksums: Path | None, url: str) -> str | None:
    return _sums(checksums).get(url) if checksums is not None and checksums.is_file() else None


def _sums(checksums: Path) -> dict[str, str]:
    remedy = "Correct or delete the line."
    try:
        sums = yaml.safe_load(checksums.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise FedbenchError(f"not valid YAML: {error}", where=checksums, remedy=remedy) from error
    if not isinstance(sums, dict):
        raise FedbenchError("not a mapping of addresses to SHA-256 sums", where=checksums, remedy=remedy)
    for url, value in sums.items():
        if not re.fullmatch(r"[0-9a-f]{64}", str(value)):
            raise FedbenchError(f"key '{url}', value {value!r}: no SHA-256 sum", where=checksums, remedy=remedy)
    return sums


def _record(checksums: Path, url: str, found: str) -> None:
    """Add a line; comments stay. Of two writers at once one may be lost: it is recorded the next time."""
    text = checksums.read_text(encoding="utf-8") if checksums.is_file() else ""
    end = "\n" if text and not text.endswith("\n") else ""
    write_text(checksums, text + end + yaml.safe_dump({url: found}, width=2**20))
