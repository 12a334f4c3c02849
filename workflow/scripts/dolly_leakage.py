"""Measure how near the held-out records are to what is trained on."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.instructions.leakage import leakage

    leakage(Path(snakemake.input.dataset), Path(snakemake.output.leakage))
