"""Record where the results of an experiment come from, and what they cost."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.files import write_json, write_text
    from fedbench.manifest import describe, resolved
    from fedbench.spec import Experiment

    experiment = Experiment.model_validate_json(snakemake.params.experiment)
    write_text(snakemake.output.resolved, resolved(experiment))
    write_json(
        snakemake.output.manifest,
        describe(
            experiment,
            Path(snakemake.input.runs),
            Path(snakemake.input.lock),
            Path(snakemake.params.logs),
            {name: Path(log) for name, log in snakemake.params.snapshots.items()},
        ),
    )
