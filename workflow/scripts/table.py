"""Write one table in every format."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.reporting.build import table
    from fedbench.spec import Experiment

    experiment = Experiment.model_validate_json(snakemake.params.experiment)
    table(snakemake.params.table, experiment, Path(snakemake.output[0]).parents[1])
