"""A flow as one line of text: terse for edge models, verbose for the cloud (the paper's prompt management).

Never rendered: ts, uid, addresses, scenario and the originator's port. They identify the capture or the moment, not
the attack, and a model that reads them learns the capture by heart.
"""

from typing import Literal

import polars as pl

_SIGNIFICANT_DIGITS = 3  # of a duration: what is left of microseconds is noise, and costs tokens


def text(template: Literal["cloud", "edge"]) -> pl.Expr:
    """Return the expression that renders the columns of `schema.FLOWS` into the text of a flow.

    An unset value is `-` in the edge template and `unset` in the cloud template.
    """
    return _edge() if template == "edge" else _cloud()


def _value(name: str, unset: str) -> pl.Expr:
    return pl.col(name).cast(pl.String).fill_null(unset)


def _duration(unset: str) -> pl.Expr:
    seconds = pl.col("duration").round_sig_figs(_SIGNIFICANT_DIGITS)
    whole = seconds.cast(pl.Int64, strict=False)
    # 12 rather than 12.0: two tokens fewer
    return pl.when(seconds == whole).then(whole.cast(pl.String)).otherwise(seconds.cast(pl.String)).fill_null(unset)


def _edge() -> pl.Expr:
    names = ("proto", "service", "conn_state", "history")
    sent, received = ("orig_bytes", "orig_pkts", "orig_ip_bytes"), ("resp_bytes", "resp_pkts", "resp_ip_bytes")
    return pl.concat_str(
        *[_value(name, "-") for name in names],
        pl.lit("port"),
        _value("id.resp_p", "-"),
        pl.lit("time"),
        _duration("-"),
        pl.lit("out"),
        *[_value(name, "-") for name in sent],
        pl.lit("in"),
        *[_value(name, "-") for name in received],
        pl.lit("lost"),
        _value("missed_bytes", "-"),
        separator=" ",
    )


def _cloud() -> pl.Expr:
    fields = [
        ("protocol", "proto", ""),
        ("service", "service", ""),
        ("destination port", "id.resp_p", ""),
        ("connection state", "conn_state", ""),
        ("history", "history", ""),
        ("duration", "duration", " seconds"),
        ("originator payload", "orig_bytes", " bytes"),
        ("originator packets", "orig_pkts", ""),
        ("originator IP bytes", "orig_ip_bytes", ""),
        ("responder payload", "resp_bytes", " bytes"),
        ("responder packets", "resp_pkts", ""),
        ("responder IP bytes", "resp_ip_bytes", ""),
        ("missed", "missed_bytes", " bytes"),
    ]
    parts = []
    for title, name, unit in fields:
        value = _duration("unset") if name == "duration" else _value(name, "unset")
        given = pl.col(name).is_not_null()
        parts.append(
            pl.concat_str(pl.lit(f"{title}: "), value, pl.when(given).then(pl.lit(unit)).otherwise(pl.lit("")))
        )
    return pl.concat_str(pl.lit("Network flow. "), pl.concat_str(*parts, separator="; "), pl.lit("."))
