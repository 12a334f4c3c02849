"""Write the page that gathers tables and figures."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.files import read_json
    from fedbench.reporting.build import page
    from fedbench.spec import Experiment

    page(
        Experiment.model_validate_json(snakemake.params.experiment),
        Path(snakemake.output.page).parent,
        Path(snakemake.input.resolved).read_text(encoding="utf-8"),
        read_json(snakemake.input.manifest),
    )
