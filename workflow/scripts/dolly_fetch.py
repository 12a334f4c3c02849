"""Make the instruction records, find them in a mirror, or download them."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.instructions.fetch import fetch
    from fedbench.spec import InstructionsSpec

    folder = Path(snakemake.output.records)
    folder.mkdir(parents=True, exist_ok=True)  # stays empty unless records are made: others are read where they lie
    fetch(
        InstructionsSpec.model_validate_json(snakemake.params.spec),
        folder,
        Path(snakemake.output.sources),
        downloads=Path(snakemake.params.downloads),
        checksums=Path(snakemake.params.checksums),
    )
