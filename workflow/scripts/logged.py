"""The opening that every script shares: output goes to the job's log, a fault that the user can mend is one line."""

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Before anything imports polars: a job keeps to the threads that it was given. Snakemake sets the OpenMP ones itself.
os.environ.setdefault("POLARS_MAX_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

BEGUN = time.monotonic()


@contextmanager
def logged(log: str) -> Iterator[None]:
    """Send stdout and stderr, of libraries in C too, to `log`; progress bars keep the terminal (`sys.__stderr__`).

    The last line of a job that ends well is what it cost and where it ran: the experiment's manifest gathers them.
    """
    from fedbench import provenance
    from fedbench.errors import FedbenchError

    sys.__stderr__ = os.fdopen(os.dup(2), "w")
    with open(log, "w", encoding="utf-8") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        yield
    except FedbenchError as error:
        sys.exit(f"Error: {error}")
    print(f"{provenance.JOB}{json.dumps(provenance.job(BEGUN))}", flush=True)
