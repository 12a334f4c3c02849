"""Keep the records that are closest to the Internet of Things."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.instructions.filtering import filter_iot
    from fedbench.spec import InstructionsSpec

    filter_iot(
        Path(snakemake.input.sources),
        InstructionsSpec.model_validate_json(snakemake.params.spec),
        Path(snakemake.output.filtered),
        Path(snakemake.output.ledger),
    )
