"""Gather the scores of all runs, and the runs themselves, into one table each."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.evaluation import histories
    from fedbench.evaluation.run_table import write_runs
    from fedbench.evaluation.score import collate
    from fedbench.spec import RunSpec

    collate([Path(path) for path in snakemake.input.scores], Path(snakemake.output.scores))
    histories.collate([Path(path).parent for path in snakemake.input.histories], Path(snakemake.output.histories))
    write_runs(
        [Path(path).parent for path in snakemake.input.manifests],
        Path(snakemake.output.runs),
        missing=[RunSpec.model_validate_json(run) for run in snakemake.params.missing],
        logs=Path(snakemake.params.logs),
    )
