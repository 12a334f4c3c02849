"""Make the IoT-23 logs, find them in a mirror, or download them."""

import json
from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.flows.fetch import fetch
    from fedbench.spec import FlowsSpec

    folder = Path(snakemake.output.logs)
    folder.mkdir(parents=True, exist_ok=True)  # stays empty unless logs are made: others are read where they lie
    fetch(
        FlowsSpec.model_validate_json(snakemake.params.spec),
        folder,
        Path(snakemake.output.sources),
        addresses=json.loads(snakemake.params.addresses),
        downloads=Path(snakemake.params.downloads),
        checksums=Path(snakemake.params.checksums),
    )
