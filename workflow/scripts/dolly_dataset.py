"""Split the instruction set."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.instructions.dataset import build
    from fedbench.spec import InstructionsSpec

    build(
        Path(snakemake.input.augmented),
        InstructionsSpec.model_validate_json(snakemake.params.spec),
        snakemake.params.seed,
        Path(snakemake.output.dataset),
        Path(snakemake.output.ledger),
    )
