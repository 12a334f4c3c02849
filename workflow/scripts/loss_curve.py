"""Draw the loss curves of one run."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.reporting.build import loss_curve

    loss_curve(Path(snakemake.input.history).parent, Path(snakemake.output.svg).with_suffix(""))
