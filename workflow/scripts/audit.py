"""Write the audit of one paper's printed numbers in every format."""

from pathlib import Path

from logged import logged

with logged(snakemake.log[0]):
    from fedbench.reporting.audit import audit
    from fedbench.reporting.writing import write

    frame = audit(Path(snakemake.input.published).parent, snakemake.params.study)
    write(frame, Path(snakemake.output[0]).with_suffix(""), snakemake.params.caption)
