"""Make the instruction records, or find them in a mirror."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.instructions.fetch import fetch
    from fedbench.spec import InstructionsSpec

    folder = Path(snakemake.output.records)
    folder.mkdir(parents=True, exist_ok=True)  # stays empty for a mirror, whose file is read where it lies
    fetch(InstructionsSpec.model_validate_json(snakemake.params.spec), folder, Path(snakemake.output.sources))
