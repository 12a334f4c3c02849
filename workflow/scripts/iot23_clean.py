"""Read Zeek logs into typed flows, with a ledger of repairs and the quarantined rows."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.files import read_json
    from fedbench.flows.clean import clean

    clean(
        [(source["scenario"], Path(source["path"])) for source in read_json(snakemake.input.sources)],
        Path(snakemake.output.flows),
        Path(snakemake.output.ledger),
        Path(snakemake.output.quarantine),
        max_quarantined=snakemake.params.max_quarantined,
    )
