"""One flow in the published format, and a header to go before it."""

from fedbench.flows.schema import COLUMNS

NAMES = [name.replace("_label", "-label") for name in COLUMNS]
ROW = {
    "ts": "1545403816.962094",
    "uid": "CrDn63WjJEmrWGjqf",
    "id.orig_h": "192.168.1.195",
    "id.orig_p": "41040",
    "id.resp_h": "185.244.25.235",
    "id.resp_p": "80",
    "proto": "tcp",
    "service": "http",
    "duration": "3.139211",
    "orig_bytes": "149",
    "resp_bytes": "128252",
    "conn_state": "S0",
    "missed_bytes": "0",
    "history": "S",
    "orig_pkts": "3",
    "orig_ip_bytes": "180",
    "resp_pkts": "1",
    "resp_ip_bytes": "44",
    "label": "Malicious",
    "detailed_label": "C&C",
}


def spaced(values: list[str]) -> str:
    return "\t".join(values[:-2]) + "   " + "   ".join(values[-2:])


def line(**changes: str) -> str:
    return spaced([(ROW | changes).get(name, "-") for name in COLUMNS])


HEADER = "#separator \\x09\n#unset_field\t-\n#fields\t" + spaced(NAMES) + "\n#types\ttime\n"
