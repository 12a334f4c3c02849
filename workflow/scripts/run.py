"""Execute one run."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.running import execute
    from fedbench.spec import RunSpec

    execute(
        RunSpec.model_validate_json(snakemake.params.spec),
        Path(snakemake.input.dataset),
        Path(snakemake.input.clients),
        Path(snakemake.input.snapshot) if snakemake.input.snapshot else None,
        Path(snakemake.output.manifest).parent,
        Path(snakemake.params.checkpoints),
        teacher=tuple(map(Path, snakemake.input.teacher)) or None,
    )
