"""Execute one run, or leave the failure row of one that no attempt has brought to its end."""

import os
import sys
from pathlib import Path

from logged import logged

from fedbench.attempts import Journal, last_line

# Before the log is begun anew: what the attempt before this one said last.
said = last_line(Path(snakemake.log[0]))

with logged(snakemake.log[0]):
    from fedbench.running import execute, give_up, out_of_memory
    from fedbench.spec import RunSpec

    run = RunSpec.model_validate_json(snakemake.params.spec)
    out, checkpoints = Path(snakemake.output.manifest).parent, Path(snakemake.params.checkpoints)
    asked = snakemake.resources
    left = asked.get("attempts_left")  # None: nobody counts, as on one machine
    journal = Journal(checkpoints / f"{run.folder}.attempts")
    if reason := asked.get("refusal"):
        tried = left is not None and left < 0
        give_up(run, out, f"{reason}: {journal.told()}; last words: {said}" if tried else reason)
    else:
        if left is not None:
            journal.begin(asked.tier)
        if address := asked.get("ray_address"):
            os.environ["RAY_ADDRESS"] = address
        execute(
            run,
            Path(snakemake.input.dataset),
            Path(snakemake.input.clients),
            Path(snakemake.input.snapshot) if snakemake.input.snapshot else None,
            out,
            checkpoints,
            teacher=tuple(map(Path, snakemake.input.teacher)) or None,
        )
        if left and out_of_memory(out):
            sys.exit(f"Error: out of memory on tier {asked.tier}; the next attempt asks for more")
    journal.forget()
