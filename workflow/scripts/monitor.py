"""Write TensorBoard's event files of every run."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.reporting.monitor import write_all

    write_all(Path(snakemake.output[0]).parent)
