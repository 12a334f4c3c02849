"""Downloads against a server that truncates, stalls, refuses, changes its mind or sends wrong bytes."""

import hashlib
import random
import time

import httpx
import pytest
import web
import yaml

from fedbench import download as module
from fedbench.download import download
from fedbench.errors import FedbenchError

BODY = random.Random(0).randbytes(300_000)
SUM = hashlib.sha256(BODY).hexdigest()
PATH = "/conn.log.labeled"


@pytest.fixture
def server():
    with web.serving() as running:
        yield running


@pytest.fixture
def fetch(server, tmp_path):
    """Download from a server that gives these answers in turn; short waits."""

    def run(*answers, **options):
        if answers:
            server.answers[PATH] = list(answers)
        options = {"timeout": 5.0, "pause": 0.001} | options
        return download(server.url(PATH), tmp_path / "in" / "conn.log", **options)

    return run


@pytest.fixture
def target(tmp_path):
    return tmp_path / "in" / "conn.log"


def files(target):
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_comes_whole_and_leaves_nothing_beside_it(fetch, target, server):
    assert fetch(web.ranged(BODY)) == SUM
    assert target.read_bytes() == BODY
    assert files(target) == ["conn.log"]
    assert server.asked[0][1]["Accept-Encoding"] == "identity"


def test_what_is_there_is_not_fetched_again(fetch, target, server):
    fetch(web.ranged(BODY))
    assert fetch() == SUM
    assert len(server.asked) == 1


def test_after_a_truncation_only_the_rest_is_sent(fetch, target, server):
    assert fetch(web.truncated(BODY, 100_000), web.ranged(BODY)) == SUM
    assert target.read_bytes() == BODY
    assert server.ranges() == [None, "bytes=100000-"]
    assert server.asked[1][1]["If-Range"] == '"1"'


def test_a_later_run_goes_on_where_an_earlier_one_stopped(fetch, target, server):
    with pytest.raises(FedbenchError, match=r"1 times in a row.*\(100,000 bytes are kept\).*Remedy: Run the same"):
        fetch(web.truncated(BODY, 100_000), attempts=1)
    assert files(target) == ["conn.log.part", "conn.log.part.json"]
    assert fetch(web.ranged(BODY)) == SUM
    assert server.ranges()[-1] == "bytes=100000-"
    assert files(target) == ["conn.log"]


def test_a_part_that_is_complete_needs_no_request(fetch, target, server):
    with pytest.raises(FedbenchError):
        fetch(web.truncated(BODY, 100_000), attempts=1)
    part = target.with_name("conn.log.part")
    part.write_bytes(BODY)  # killed between the last byte and the renaming
    assert fetch() == SUM
    assert len(server.asked) == 1


def test_a_stall_is_given_up_and_resumed(fetch, target, server):
    began = time.monotonic()
    assert fetch(web.stalling(BODY, 50_000), web.ranged(BODY), timeout=0.3) == SUM
    assert time.monotonic() - began < 5
    assert server.ranges() == [None, "bytes=50000-"]


def test_a_server_without_ranges_sends_everything_again(fetch, target, server):
    assert fetch(web.truncated(BODY, 100_000), web.whole(BODY)) == SUM
    assert target.read_bytes() == BODY
    assert server.ranges() == [None, "bytes=100000-"]


def test_a_server_that_names_no_version_is_not_resumed(fetch, target, server):
    def cut(exchange):
        exchange.reply(200, BODY[:100_000], length=len(BODY))

    assert fetch(cut, web.whole(BODY)) == SUM
    assert server.ranges() == [None, None]


def test_a_weak_tag_cannot_be_resumed_by_but_the_time_of_change_can(fetch, target, server):
    changed = "Tue, 21 Jan 2020 10:00:00 GMT"

    def cut(exchange):
        exchange.reply(200, BODY[:100_000], length=len(BODY), ETag='W/"1"', Last_Modified=changed)

    assert fetch(cut, web.whole(BODY)) == SUM
    assert server.asked[1][1]["If-Range"] == changed


def test_a_file_that_changed_between_two_attempts_starts_anew(fetch, target, server):
    newer = BODY[::-1]
    assert fetch(web.truncated(BODY, 100_000, '"1"'), web.ranged(newer, '"2"')) == hashlib.sha256(newer).hexdigest()
    assert target.read_bytes() == newer


def test_a_server_that_continues_another_version_is_not_believed(fetch, target, server):
    newer = BODY[::-1]

    def careless(exchange):  # ignores If-Range
        content = f"bytes {exchange.start}-{len(newer) - 1}/{len(newer)}"
        exchange.reply(206, newer[exchange.start :], ETag='"2"', Content_Range=content)

    fetch(web.truncated(BODY, 100_000), careless, web.ranged(newer, '"2"'))
    assert target.read_bytes() == newer
    assert server.ranges() == [None, "bytes=100000-", None]


def test_a_range_that_the_server_does_not_have_starts_anew(fetch, target, server):
    assert fetch(web.truncated(BODY, 100_000), web.status(416), web.whole(BODY)) == SUM
    assert server.ranges() == [None, "bytes=100000-", None]


def test_another_address_does_not_continue_a_part(fetch, target, server):
    with pytest.raises(FedbenchError):
        fetch(web.truncated(BODY, 100_000), attempts=1)
    server.answers["/other"] = [web.ranged(b"other")]
    download(server.url("/other"), target)
    assert target.read_bytes() == b"other"
    assert server.ranges()[-1] is None


@pytest.mark.parametrize("code", [500, 502, 503, 429, 408])
def test_a_passing_fault_is_tried_again(fetch, target, server, code):
    assert fetch(web.status(code), web.status(code), web.ranged(BODY)) == SUM
    assert len(server.asked) == 3


def test_attempts_end(fetch, target, server):
    with pytest.raises(FedbenchError) as caught:
        fetch(web.status(500), attempts=3)
    assert caught.value.where == server.url(PATH)
    assert "failed 3 times in a row, last: the server answered 500 Internal Server Error" in caught.value.what
    assert len(server.asked) == 3
    assert not target.exists()


def test_attempts_that_bring_something_do_not_count(fetch, target, server, monkeypatch):
    monkeypatch.setattr(module, "_MIB", 10_000)

    def piecewise(exchange):
        start = exchange.start
        part = BODY[start : start + 60_000]
        content = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
        status = 206 if start else 200
        exchange.reply(status, part, length=len(BODY) - start, ETag='"1"', Content_Range=content)

    assert fetch(piecewise, attempts=2) == SUM
    assert server.ranges() == [None, *(f"bytes={start}-" for start in range(60_000, 300_000, 60_000))]


@pytest.mark.parametrize(
    ("code", "remedy"), [(404, "Correct the address"), (410, "Correct the address"), (403, "consent"), (401, "login")]
)
def test_a_refusal_is_final_and_says_what_to_do(fetch, target, server, code, remedy):
    with pytest.raises(FedbenchError, match=f"the server answered {code}") as caught:
        fetch(web.status(code))
    assert caught.value.where == server.url(PATH)
    assert remedy in caught.value.remedy
    assert len(server.asked) == 1
    assert not target.exists()


@pytest.mark.parametrize("code", [206, 416])
def test_an_answer_about_ranges_that_nobody_asked_for_is_refused(fetch, target, server, code):
    with pytest.raises(FedbenchError, match=f"the server answered {code}"):
        fetch(web.status(code))
    assert not target.exists()


def test_wrong_bytes_are_named_with_both_sums_and_thrown_away(fetch, target, server):
    wrong = BODY[:-1] + b"x"
    with pytest.raises(FedbenchError, match="wrong checksum") as caught:
        fetch(web.ranged(wrong), sha256=SUM)
    assert SUM in caught.value.what
    assert hashlib.sha256(wrong).hexdigest() in caught.value.what
    assert caught.value.where == server.url(PATH)
    assert files(target) == ["conn.log.part.json"]
    assert fetch(web.ranged(BODY), sha256=SUM) == SUM
    assert server.ranges() == [None, None]


def test_an_unknown_checksum_is_recorded_on_first_use_and_checked_afterwards(fetch, target, server, tmp_path):
    checksums = tmp_path / "checksums.yaml"
    checksums.write_text("# why\nhttps://example.org/a: " + "ab" * 32)  # no end of line
    fetch(web.ranged(BODY), checksums=checksums)
    assert checksums.read_text().startswith("# why\n")
    assert yaml.safe_load(checksums.read_text()) == {"https://example.org/a": "ab" * 32, server.url(PATH): SUM}

    target.unlink()
    wrong = BODY[::-1]
    with pytest.raises(FedbenchError, match="wrong checksum") as caught:
        fetch(web.ranged(wrong), checksums=checksums)
    assert f"delete its line in {checksums}" in caught.value.remedy
    assert not target.exists()
    assert yaml.safe_load(checksums.read_text())[server.url(PATH)] == SUM


def test_a_file_that_was_damaged_afterwards_is_noticed_and_kept(fetch, target, server, tmp_path):
    checksums = tmp_path / "checksums.yaml"
    fetch(web.ranged(BODY), checksums=checksums)
    target.write_bytes(BODY[:1000])
    with pytest.raises(FedbenchError, match="wrong checksum") as caught:
        fetch(checksums=checksums)
    assert caught.value.where == target
    assert f"Delete {target} and run again" in caught.value.remedy
    assert target.stat().st_size == 1000


def test_what_is_there_without_a_record_gets_one(fetch, target, server, tmp_path):
    fetch(web.ranged(BODY))
    fetch(checksums=tmp_path / "checksums.yaml")
    assert yaml.safe_load((tmp_path / "checksums.yaml").read_text()) == {server.url(PATH): SUM}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("a: [", "not valid YAML"), ("- a", "not a mapping"), ("a: 12", "key 'a', value 12: no SHA-256 sum")],
)
def test_a_broken_list_of_checksums_is_named(fetch, server, tmp_path, text, complaint):
    checksums = tmp_path / "checksums.yaml"
    checksums.write_text(text)
    with pytest.raises(FedbenchError, match=complaint) as caught:
        fetch(web.ranged(BODY), checksums=checksums)
    assert caught.value.where == checksums
    assert server.asked == []


def test_redirects_are_followed(fetch, target, server):
    server.answers["/moved"] = [lambda exchange: exchange.reply(302, Location=server.url(PATH))]
    server.answers[PATH] = [web.ranged(BODY)]
    assert download(server.url("/moved"), target) == SUM


def test_a_chunked_answer_needs_no_length(fetch, target, server):
    def chunked(exchange):
        exchange.send_response(200)
        exchange.send_header("Transfer-Encoding", "chunked")
        exchange.end_headers()
        for start in range(0, len(BODY), 50_000):
            piece = BODY[start : start + 50_000]
            exchange.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        exchange.wfile.write(b"0\r\n\r\n")

    assert fetch(chunked) == SUM


def test_an_answer_that_is_compressed_all_the_same_is_refused(fetch, target, server):
    with pytest.raises(FedbenchError, match="compressed"):
        fetch(web.whole(BODY, Content_Encoding="gzip"))
    assert not target.exists()


def test_no_server_is_said_so(server, tmp_path):
    with web.serving() as gone:
        url = gone.url(PATH)
    with pytest.raises(FedbenchError, match="2 times in a row, last: ConnectError") as caught:
        download(url, tmp_path / "x", attempts=2, pause=0.001)
    assert caught.value.where == url


def test_an_address_of_another_kind_is_refused_at_once(tmp_path):
    with pytest.raises(FedbenchError, match="Give an http or https address"):
        download("ftp://example.org/a", tmp_path / "a")


def test_a_certificate_that_cannot_be_verified_is_not_tried_again(tmp_path, monkeypatch):
    calls = []

    def refuse(*_args, **_options):
        calls.append(1)
        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get local issuer certificate")

    monkeypatch.setattr(httpx.Client, "stream", refuse)
    with pytest.raises(FedbenchError, match="SSL_CERT_FILE"):
        download("https://example.org/a", tmp_path / "a", pause=0.001)
    assert len(calls) == 1


def test_a_folder_that_cannot_be_written_is_named(fetch, server, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "conn.log.part").mkdir()
    with pytest.raises(FedbenchError, match="cannot be written: Is a directory") as caught:
        fetch(web.ranged(BODY))
    assert caught.value.where == tmp_path / "in" / "conn.log.part"
