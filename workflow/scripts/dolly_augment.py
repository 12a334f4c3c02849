"""Add instruction pairs by Self-Instruct."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.instructions.self_instruct import augment
    from fedbench.spec import InstructionsSpec

    augment(
        Path(snakemake.input.filtered),
        InstructionsSpec.model_validate_json(snakemake.params.spec),
        snakemake.params.seed,
        Path(snakemake.output.augmented),
        Path(snakemake.output.ledger),
        Path(snakemake.input.teacher) if snakemake.input.teacher else None,
    )
