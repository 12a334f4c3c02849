"""The parts of a deployment that need no Flower: keys, processes, placement."""

import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key, load_ssh_public_key
from hypothesis import given
from hypothesis import strategies as st

from fedbench.errors import FedbenchError
from fedbench.federation.deployment.keys import Authority, node_key
from fedbench.federation.deployment.processes import MARK, Processes
from fedbench.federation.deployment.superlink import free_port
from fedbench.serving import placement

# A child that leaves its parent's session and outlives it, as Flower's executors do.
DETACHED = "import subprocess, time; subprocess.Popen(['sleep', '300'], start_new_session=True); time.sleep(300)"


def test_keys_are_for_their_owner_alone_and_the_authoritys_is_nowhere(tmp_path):
    authority = Authority()
    authority.write(tmp_path / "ca.crt")
    certificate, key = authority.issue(tmp_path / "superlink")
    private, public = node_key(tmp_path / "node")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()} == {0o600}
    secret = {path.name for path in tmp_path.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()}
    assert secret == {key.name, private.name}
    owner = load_ssh_private_key(private.read_bytes(), None).public_key()
    assert owner == load_ssh_public_key(public.read_bytes())
    assert load_pem_private_key(key.read_bytes(), None).curve.name == "secp384r1"
    assert certificate.read_bytes().startswith(b"-----BEGIN CERTIFICATE")


def handshake(trusted: Path, certificate: Path, key: Path, name: str) -> None:
    """Shake hands in memory as a client that trusts `trusted` with a server of `certificate`."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(trusted))
    server.load_cert_chain(certificate, key)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there, server_hostname=name), server.wrap_bio(there, back, server_side=True)]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_certificate_holds_for_loopback(tmp_path, name):
    authority = Authority()
    handshake(authority.write(tmp_path / "ca.crt"), *authority.issue(tmp_path), name)


def test_a_certificate_of_another_authority_does_not_hold(tmp_path):
    stranger = Authority().write(tmp_path / "other.crt")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(stranger, *Authority().issue(tmp_path), "localhost")


def test_a_certificate_does_not_hold_for_another_host(tmp_path):
    authority = Authority()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority.write(tmp_path / "ca.crt"), *authority.issue(tmp_path), "example.org")


def marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def awaited(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_nothing_outlives_its_owner_not_even_what_has_left_its_session(tmp_path):
    with Processes({}, tmp_path) as processes:
        processes.start("parent", [sys.executable, "-c", DETACHED], {})
        assert awaited(lambda: len(processes.left()) == 2)
        mark = processes.mark
    assert marked(mark) == []


def test_a_process_that_ignores_requests_is_ended_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("fedbench.federation.deployment.processes.GRACE", 0.5)
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)"
    )
    with Processes({}, tmp_path) as processes:
        processes.start("deaf", [sys.executable, "-c", deaf], {})
        assert awaited(lambda: processes.log("deaf").read_text() == "deaf\n")
    assert marked(processes.mark) == []


def test_a_process_that_ends_by_itself_is_reported_with_its_last_word(tmp_path):
    with Processes({}, tmp_path) as processes:
        process = processes.start("brief", [sys.executable, "-c", "print('first'); print('no port'); exit(3)"], {})
        process.wait(20)
        with pytest.raises(FedbenchError, match="brief ended with code 3: no port"):
            processes.check()


def test_a_command_that_fails_or_takes_too_long_is_one_line(tmp_path):
    processes = Processes({}, tmp_path)
    assert processes.run([sys.executable, "-c", "import os; print(os.environ['A'])"], {"A": "b"}) == "b\n"
    with pytest.raises(FedbenchError, match="failed: the reason"):
        processes.run([sys.executable, "-c", "exit('the reason')"], {})
    with pytest.raises(FedbenchError, match=r"no answer in 0\.5 s"):
        processes.run([sys.executable, "-c", "import time; time.sleep(60)"], {}, timeout=0.5)


OWNER = """
import sys, time
from pathlib import Path
from fedbench.federation.deployment.processes import Processes, ended_by_signals
with ended_by_signals(), Processes({}, Path(sys.argv[1])) as processes:
    processes.start("child", [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(300)"], {})
    print(processes.mark, flush=True)
    time.sleep(300)
"""


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGINT, 128 + signal.SIGINT),
        pytest.param(
            signal.SIGKILL, -signal.SIGKILL, marks=pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
        ),
    ],
)
def test_whatever_ends_the_owner_ends_its_children(tmp_path, number, code):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path], stdout=subprocess.PIPE, text=True, env=environment
    )
    mark = owner.stdout.readline().strip()
    log = tmp_path / "child.log"
    assert awaited(lambda: log.is_file() and log.read_text() == "up\n")
    owner.send_signal(number)
    assert owner.wait(30) == code
    assert awaited(lambda: marked(mark) == [])


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_placement_gives_every_client_to_one_node(clients, nodes):
    if nodes > clients:
        with pytest.raises(FedbenchError, match="--nodes"):
            placement(clients, nodes)
        return
    placed = placement(clients, nodes)
    assert sorted(client for held in placed for client in held) == list(range(clients))
    assert max(map(len, placed)) - min(map(len, placed)) <= 1


def test_free_ports_are_free():
    assert 1024 < free_port() < 65536
