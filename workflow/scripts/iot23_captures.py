"""Set what was parsed of each capture beside what is published about it."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from pydantic import TypeAdapter

    from fedbench.flows.captures import compare
    from fedbench.spec import CaptureSpec

    compare(
        TypeAdapter(dict[str, CaptureSpec]).validate_json(snakemake.params.captures),
        Path(snakemake.input.flows),
        Path(snakemake.input.quarantine),
        Path(snakemake.input.sources),
        Path(snakemake.output.captures),
    )
