"""Draw the curated sample of flows."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.flows.sample import sample
    from fedbench.spec import FlowsSpec

    sample(
        Path(snakemake.input.flows),
        FlowsSpec.model_validate_json(snakemake.params.spec),
        snakemake.params.seed,
        Path(snakemake.output.sample),
        Path(snakemake.output.ledger),
    )
