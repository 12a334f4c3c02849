"""Score the predictions of one run."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.evaluation.score import score

    score(Path(snakemake.input.predictions).parent, Path(snakemake.output.scores), snakemake.params.bootstrap)
