"""Zeek logs as published and as found in the wild."""

import functools
import gzip
import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zeek_rows import HEADER, NAMES, ROW, line

from fedbench.errors import FedbenchError
from fedbench.flows import tabular, zeek
from fedbench.flows.blocks import blocks, raw_lines
from fedbench.flows.schema import COLUMNS
from fedbench.flows.typed import typed


def parse(path: Path, content: str | bytes, **options) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    flows, wrong, repairs = [], [], {}
    for chunk in (part.parse() for part in zeek.parts(path, **options)):
        good, bad, mended = typed(chunk.rows)
        flows.append(good)
        wrong += [chunk.unreadable, bad]
        for reason, count in (chunk.repairs + mended).items():
            repairs[reason] = repairs.get(reason, 0) + count
    return pl.concat(flows), pl.concat(wrong), repairs


@pytest.fixture
def log(tmp_path):
    return tmp_path / "conn.log.labeled"


def test_reads_the_published_format_with_three_spaces_before_the_labels(log):
    flows, wrong, repairs = parse(log, HEADER + line() + "\n#close\t2019-03-15\n")
    assert (flows.height, wrong.height, repairs) == (1, 0, {})
    row = flows.row(0, named=True)
    assert row["ts"].isoformat() == "2018-12-21T14:50:16.962094+00:00"
    assert row["uid"] == "CrDn63WjJEmrWGjqf"
    assert row["id.resp_p"] == 80
    assert row["duration"] == 3.139211
    assert row["resp_bytes"] == 128_252
    assert (row["label"], row["detailed_label"]) == ("Malicious", "C&C")
    assert row["tunnel_parents"] is None
    assert row["local_orig"] is None
    assert row["line"] == 5


def test_crlf_and_a_close_line_with_a_label_suffix_leave_nothing_on_the_last_column(log):
    content = HEADER + line(label="benign", detailed_label="-") + "\n#close\t2019-12-05   benign   -\n"
    flows, wrong, repairs = parse(log, content.replace("\n", "\r\n"))
    assert wrong.height == 0
    assert flows.row(0, named=True)["label"] == "Benign"
    assert flows.row(0, named=True)["detailed_label"] is None
    assert repairs == {"CRLF line end": 1, "label spelling": 1}


def test_line_ends_of_the_header_are_no_repairs_of_rows(log):
    flows, _, repairs = parse(log, HEADER.replace("\n", "\r\n") + line() + "\n# a note\r\n" + line(uid="C2") + "\n")
    assert flows.height == 2
    assert repairs == {}


def test_a_plain_header_with_tabs_blanks_and_float_counts_reads_the_same_flow(log):
    values = (ROW | {"orig_bytes": "149.0", "resp_bytes": "128252.0"}).get
    content = "\t".join(NAMES) + "\n" + "\t".join(values(name, "") for name in COLUMNS) + "\n"
    flows, wrong, repairs = parse(log, content)
    assert wrong.height == 0
    assert flows.drop("line").equals(parse(log, HEADER + line() + "\n")[0].drop("line"))
    assert repairs == {"blank read as unset": 1, "count written as a float": 1}


@pytest.mark.parametrize("name", ["detailedlabel", "detailed_label", "Detailed-Label"])
def test_the_detailed_label_is_found_however_it_is_spelt(log, name):
    flows, _, _ = parse(log, HEADER.replace("detailed-label", name) + line() + "\n")
    assert flows["detailed_label"].to_list() == ["C&C"]


def test_columns_are_found_by_name_in_any_order(log):
    order = list(reversed(NAMES))
    row = [ROW.get(name.replace("-label", "_label"), "-") for name in order]
    flows, wrong, _ = parse(log, "#fields\t" + "\t".join(order) + "\n" + "\t".join(row) + "\n")
    assert wrong.height == 0
    assert flows.drop("line").equals(parse(log, HEADER + line() + "\n")[0].drop("line"))


def test_a_header_without_local_resp_and_one_with_an_unknown_column_are_read(log):
    old = [name for name in COLUMNS if name != "local_resp"]
    content = "#fields\t" + "\t".join([*old[:-2], "ip_proto", *old[-2:]]) + "\n"
    content += "\t".join([*(ROW.get(name, "-") for name in old[:-2]), "6", "Malicious", "C&C"]) + "\n"
    flows, wrong, _ = parse(log, content)
    assert wrong.height == 0
    assert flows.drop("line").equals(parse(log, HEADER + line() + "\n")[0].drop("line"))


@pytest.mark.parametrize("absent", [{"local_resp"}, {"label", "detailed_label"}, set()])
def test_a_log_without_any_header_is_read_by_its_number_of_columns(log, absent):
    flows, wrong, repairs = parse(log, "\t".join(ROW.get(name, "-") for name in COLUMNS if name not in absent) + "\n")
    assert wrong.height == 0
    assert flows.row(0, named=True)["history"] == "S"
    assert flows["label"].to_list() == [None if "label" in absent else "Malicious"]
    assert repairs == {"no header: columns by position": 1}


def test_concatenated_logs_switch_to_the_columns_of_each_header(log):
    order = list(reversed(NAMES))
    second = "\t".join(ROW.get(name.replace("-label", "_label"), "-") for name in order)
    content = HEADER + line(uid="C1") + "\n#close\tx\n#fields\t" + "\t".join(order) + "\n" + second + "\n"
    flows, wrong, _ = parse(log, content)
    assert flows["uid"].to_list() == ["C1", "CrDn63WjJEmrWGjqf"]
    assert flows["line"].to_list() == [5, 8]
    assert wrong.height == 0


@pytest.mark.parametrize("absent", ["orig_bytes", "duration", "local_orig", "history", "missed_bytes", "conn_state"])
def test_a_column_that_a_log_does_not_have_is_unset(log, absent):
    names = [name for name in COLUMNS if name != absent]
    content = "#fields\t" + "\t".join(names) + "\n" + "\t".join(ROW.get(name, "-") for name in names) + "\n"
    flows, wrong, _ = parse(log, content)
    whole, _, _ = parse(log, HEADER + line() + "\n")
    assert wrong.height == 0
    assert flows.schema == whole.schema
    assert flows[absent].to_list() == [None]
    assert flows.drop("line", absent).equals(whole.drop("line", absent))


def test_json_lines_are_read_with_numbers_flags_and_absent_keys(log):
    value = {"ts": 1545403816.962094, "uid": "C1", "id.orig_h": "fe80::1", "id.orig_p": 1, "id.resp_h": "ff02::2"}
    value |= {"id.resp_p": 2, "proto": "icmp", "orig_bytes": 12, "local_orig": True, "tunnel_parents": []}
    iso = value | {"ts": "2018-12-21T14:50:16.962094Z", "uid": "C2", "label": "benign", "detailed-label": "-"}
    content = "\n".join([json.dumps(value), "", json.dumps(iso), "{broken", "[1]"]) + "\n"
    flows, wrong, repairs = parse(log, content)
    assert flows["uid"].to_list() == ["C1", "C2"]
    assert flows["ts"].n_unique() == 1
    assert flows["line"].to_list() == [1, 3]
    assert flows["orig_bytes"].to_list() == [12, 12]
    assert flows["local_orig"].to_list() == [True, True]
    assert flows["tunnel_parents"].to_list() == [None, None]
    assert flows["label"].to_list() == [None, "Benign"]
    assert wrong.rows() == [(4, "not a JSON object"), (5, "not a JSON object")]
    assert repairs["time written as ISO 8601"] == 1


def test_a_json_line_too_deep_to_parse_is_set_apart(log):
    good = json.dumps({name: ROW.get(name) for name in COLUMNS})
    flows, wrong, _ = parse(log, f"{good}\n" + '{"a":' * 50_000 + "1" + "}" * 50_000 + "\n")
    assert flows.height == 1
    assert wrong.rows() == [(2, "not a JSON object")]


def test_unset_markers_in_json_are_unset_wherever_they_stand(log):
    value = {name: ROW.get(name) for name in COLUMNS}
    marked = value | {"service": "-", "history": "", "tunnel_parents": "(empty)", "orig_bytes": "-"}
    flows, wrong, _ = parse(log, "".join(json.dumps(one) + "\n" for one in (value, marked)))
    assert wrong.height == 0
    assert flows.select("service", "history", "tunnel_parents", "orig_bytes").row(1) == (None, None, None, None)
    assert flows["service"].to_list() == ["http", None]


@pytest.mark.parametrize("blank", ["", "   ", "\t", "\r"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_blank_lines_between_json_lines_do_not_shift_line_numbers(log, blank, ends):
    rows = [json.dumps({name: ROW.get(name) for name in COLUMNS} | {"uid": f"C{i}"}) for i in range(3)]
    flows, wrong, _ = parse(log, ends.join([blank, rows[0], blank, blank, rows[1], rows[2], "{x", blank, ""]))
    assert flows["line"].to_list() == [2, 5, 6]
    assert wrong["line"].to_list() == [7]


@pytest.mark.parametrize("kind", ["gzip", "two gzip members", "zstd"])
def test_compressed_logs_are_told_by_their_first_bytes(log, kind):
    plain = (HEADER + line() + "\n").encode()
    if kind == "zstd":
        packed = pa.compress(plain, codec="zstd", asbytes=True)
    else:
        packed = gzip.compress(plain[:400]) + gzip.compress(plain[400:]) if "two" in kind else gzip.compress(plain)
    assert parse(log, packed)[0].equals(parse(log, plain)[0])


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_truncated_compressed_log_is_an_error_that_names_the_file(log, codec):
    plain = (HEADER + "\n".join(line(uid=f"C{i * 7919}") for i in range(500))).encode()
    packed = gzip.compress(plain) if codec == "gzip" else pa.compress(plain, codec="zstd", asbytes=True)
    with pytest.raises(FedbenchError, match=r"conn\.log\.labeled.*read to its end"):
        parse(log, packed[: len(packed) // 2])


@pytest.mark.parametrize("address", ["::", "::1", "fe80::1%eth0", "::ffff:1.2.3.4", "2001:db8:0:1:1:1:1:1", "0.0.0.0"])
def test_addresses_are_known_in_every_spelling(log, address):
    flows, wrong, _ = parse(log, HEADER + line(**{"id.resp_h": address}) + "\n")
    assert wrong.height == 0
    assert flows["id.resp_h"].to_list() == [address]


def test_ipv6_and_icmp_are_flows_like_any_other(log):
    icmp = line(proto="icmp", **{"id.orig_h": "fe80::1%eth0", "id.resp_h": "ff02::1:2", "id.orig_p": "133"})
    flows, wrong, _ = parse(log, HEADER + icmp + "\n")
    assert (flows.height, wrong.height) == (1, 0)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (line(ts="soon"), "ts is not a time"),
        (line(ts="-"), "ts is unset"),
        (line(uid="-"), "uid is unset"),
        (line(**{"id.orig_h": "nowhere"}), "id.orig_h is not an address"),
        (line(**{"id.orig_h": "999.1.1.1"}), "id.orig_h is not an address"),
        (line(**{"id.resp_h": "1.2.3"}), "id.resp_h is not an address"),
        (line(**{"id.resp_h": "..."}), "id.resp_h is not an address"),
        (line(**{"id.resp_h": "1:2"}), "id.resp_h is not an address"),
        (line(**{"id.resp_p": "65536"}), "id.resp_p is not a port"),
        (line(orig_bytes="48.5"), "orig_bytes is not a count"),
        (line(resp_pkts="-3"), "resp_pkts is not a count"),
        (line(duration="nan"), "duration is not seconds"),
        (line(duration="-1.0"), "duration is not seconds"),
        (line(local_orig="maybe"), "local_orig is not T or F"),
        (line(label="Suspicious"), "unknown label"),
        (line().rsplit("   ", 1)[0], "wrong number of columns"),
        (line() + "\textra", "wrong number of columns"),
        ("garbage", "wrong number of columns"),
    ],
)
def test_an_unreadable_row_is_set_apart_with_its_line_and_reason(log, bad, reason):
    content = HEADER + line(uid="C1") + "\n" + bad + "\n" + line(uid="C2") + "\n"
    flows, wrong, _ = parse(log, content)
    assert flows["uid"].to_list() == ["C1", "C2"]
    assert wrong.rows() == [(6, reason)]


def test_bytes_that_are_not_utf8_spoil_their_own_row_only(log):
    content = (HEADER + line(uid="C1") + "\nBAD\n" + line(uid="C2") + "\n").encode().replace(b"BAD", b"\xff\xfe\t")
    flows, wrong, _ = parse(log, content)
    assert flows["uid"].to_list() == ["C1", "C2"]
    assert wrong.rows() == [(6, "not UTF-8")]
    assert [text for texts in raw_lines(log, np.array([6])) for text in texts] == ["\\xff\\xfe\t"]


def test_blank_lines_are_no_rows_and_do_not_shift_line_numbers(log):
    flows, wrong, _ = parse(log, HEADER + "\n\n" + line(uid="C1") + "\n\n\n" + line(uid="C2"))
    assert flows["line"].to_list() == [7, 10]
    assert wrong.height == 0


def test_quotes_are_ordinary_characters(log):
    flows, wrong, _ = parse(log, HEADER + line(service='"http') + "\n" + line(history='S"') + "\n")
    assert (flows.height, wrong.height) == (2, 0)
    assert flows["service"].to_list() == ['"http', "http"]


def test_a_detailed_label_in_the_label_column_is_moved(log):
    flows, _, repairs = parse(log, HEADER + line(label="DDoS", detailed_label="-") + "\n")
    assert flows.select("label", "detailed_label").rows() == [("Malicious", "DDoS")]
    assert repairs == {"detailed label in the label column": 1}


@pytest.mark.parametrize("content", ["", HEADER, "\n\n", HEADER + "#close\t2019\n"])
def test_an_empty_log_is_an_error_that_names_the_file(log, content):
    with pytest.raises(FedbenchError, match=r"conn\.log\.labeled: empty log"):
        parse(log, content)


@pytest.mark.parametrize(
    ("separator", "unset", "empty"), [(",", "NA", "EMPTY"), ("|", "?", "(none)"), ("\t", "-", "E")]
)
def test_a_log_may_declare_other_marks(log, separator, unset, empty):
    head = f"#separator \\x{ord(separator):02x}\n#empty_field{separator}{empty}\n#unset_field{separator}{unset}\n"
    values = ROW | {"service": empty, "tunnel_parents": empty}
    rows = [separator.join(values.get(name, unset) for name in COLUMNS)] * 2
    flows, wrong, repairs = parse(log, head + f"#fields{separator}" + separator.join(NAMES) + "\n" + "\n".join(rows))
    assert wrong.height == 0
    same = parse(log, HEADER + line(service="-") + "\n")[0].drop("line")
    assert flows.head(1).drop("line").equals(same)
    assert repairs == {f"{empty} read as unset": 4}


@pytest.mark.parametrize("mark", ["", "\\x09\\x09", "\\x0a", "\\xff", "tab"])
def test_a_separator_that_is_not_one_character_is_an_error(log, mark):
    with pytest.raises(FedbenchError, match=r"#separator .* is not one ASCII character"):
        parse(log, f"#separator {mark}\n" + HEADER.split("\n", 1)[1] + line() + "\n")


def test_marks_that_are_not_utf8_are_no_crash(log):
    content = (HEADER + line() + "\n").encode()
    flows, wrong, _ = parse(log, content.replace(b"#unset_field\t-", b"#unset_field\t\xff"))
    assert flows.height + wrong.height == 1


@pytest.mark.parametrize(
    ("first", "name"), [(b"BZh91AY", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"PK\x03\x04", "zip"), (b"PAR1", "Parquet")]
)
def test_a_file_of_another_kind_is_named(log, first, name):
    with pytest.raises(FedbenchError, match=rf"conn\.log\.labeled: a {name} file"):
        parse(log, first + bytes(100))


def test_a_pipe_or_a_folder_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(FedbenchError, match="not a file"):
            next(blocks(path))


def test_a_file_that_is_not_a_conn_log_is_an_error(log):
    with pytest.raises(FedbenchError, match="its #path is 'dns'"):
        parse(log, HEADER.replace("#fields", "#path\tdns\n#fields") + line() + "\n")
    with pytest.raises(FedbenchError, match="columns unknown"):
        parse(log, "hello\nworld\n")
    with pytest.raises(FedbenchError, match=r"no column id\.orig_h"):
        parse(log, "#fields\tts\tuid\n1\tC1\n")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(60, 700), ends=st.sampled_from(["\n", "\r\n"]), last=st.booleans())
def test_the_size_of_blocks_changes_nothing(tmp_path_factory, size, ends, last):
    path = tmp_path_factory.mktemp("blocks") / "conn.log"
    rows = [line(uid=f"C{i}") if i % 3 else "garbage" for i in range(12)] + ["#close"]
    content = HEADER + "\n".join(rows) + ("\n" if last else "")
    content = content.replace("\n", ends)
    whole = parse(path, content)
    assert b"".join(block for _, block in blocks(path, size)) == content.encode() + (b"" if last else b"\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zeek, "blocks", functools.partial(blocks, size=size))
        parts = parse(path, content)
    assert parts[0].equals(whole[0])
    assert parts[1].equals(whole[1])
    assert parts[2] == whole[2]


ODD = {
    "ts": ["1", "1.5", "-1", "x", "", "-", "1e9", "inf", "5e9", " 1", "2018-12-21T14:50:16Z"],
    "uid": ["C1", "", "-", "#x", '"', "C 1", "(empty)", "é"],
    "id.orig_h": ["::1", "fe80::1%eth0", "x", "999.1.1.1", "", "-", "1.1.1.1 "],
    "id.orig_p": ["70000", "-1", "", "1.0", "+1", "01", "-", " 1", "99999999999"],
    "orig_bytes": ["-", "", "1.0", "1.5", "99999999999999999999", "9223372036854775807", "-1", "1e3", "nan"],
    "duration": ["-", "", "nan", "inf", "-1", "1e13", "1e-9", ".5"],
    "proto": ["TCP", "-", ""],
    "service": ["-", "", "(empty)", '"x', "a   b", "a b"],
    "local_orig": ["T", "F", "-", "t", "x", ""],
    "tunnel_parents": ["-", "(empty)", "", "C1", "   "],
    "label": ["Benign", "benign", "-", "", "(empty)", "DDoS", "x", " Benign"],
    "detailed_label": ["-", "", "ddos", "(empty)", "new", "c&c "],
}


@st.composite
def odd_rows(draw):
    changes = st.lists(st.sampled_from([(name, value) for name, values in ODD.items() for value in values]), max_size=2)
    return [line(**dict(changed)) for changed in draw(st.lists(changes, min_size=1, max_size=4))]


@settings(max_examples=150, deadline=None)
@given(odd_rows())
def test_the_fast_way_and_the_careful_way_read_the_same(rows):
    layout = tabular.Layout(columns=COLUMNS)

    def read():
        chunk = tabular.parse("".join(f"{row}\n" for row in rows).encode(), 1, layout)
        flows, wrong, repairs = typed(chunk.rows)
        return flows, pl.concat([chunk.unreadable, wrong]).sort("line"), +(chunk.repairs + repairs)

    fast = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tabular, "_regular", lambda *_: None)
        careful = read()
    assert fast[0].equals(careful[0])
    assert fast[0].schema == careful[0].schema
    assert fast[1].rows() == careful[1].rows()
    assert fast[2] == careful[2]
    assert fast[0].height + fast[1].height == len(rows)
