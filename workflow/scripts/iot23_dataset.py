"""Label, render and split the sampled flows."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.flows.dataset import build
    from fedbench.spec import FlowsSpec

    build(
        Path(snakemake.input.sample),
        FlowsSpec.model_validate_json(snakemake.params.spec),
        snakemake.params.seed,
        Path(snakemake.output.dataset),
        Path(snakemake.output.ledger),
    )
