"""Measure, for each split protocol, how far a memoriser would get."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.flows.leakage import leakage
    from fedbench.spec import FlowsSpec

    leakage(
        Path(snakemake.input.sample),
        FlowsSpec.model_validate_json(snakemake.params.spec),
        snakemake.params.seed,
        Path(snakemake.output.leakage),
    )
