"""Draw one figure."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.reporting.build import figure
    from fedbench.spec import Experiment

    experiment = Experiment.model_validate_json(snakemake.params.experiment)
    figure(snakemake.wildcards.figure, experiment, Path(snakemake.output.svg).parents[1])
