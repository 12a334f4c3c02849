"""Deal the training and validation rows of a data set out to clients."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.partition import write_clients
    from fedbench.spec import ClientsSpec

    write_clients(
        Path(snakemake.input.dataset),
        ClientsSpec.model_validate_json(snakemake.params.spec),
        snakemake.params.seed,
        Path(snakemake.output.clients),
        by=snakemake.params.by,
        device=snakemake.params.device,
    )
