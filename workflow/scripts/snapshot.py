"""Fetch one base model."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.models.snapshot import fetch
    from fedbench.spec import ModelSpec

    fetch(ModelSpec.model_validate_json(snakemake.params.spec), Path(snakemake.output.folder))
