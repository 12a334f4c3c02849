"""The tables of both papers: one function a table; cells are estimates, text or "not run"."""

from collections.abc import Callable

import pandas as pd

from fedbench.reporting import (
    edge_fit_gains,
    edge_fit_tables,
    edge_fit_variants,
    gsfs_groups,
    gsfs_tables,
    prompt_table,
)
from fedbench.reporting.results import Results
from fedbench.spec import Experiment

PAPER_TABLES: dict[str, Callable[[Experiment, Results], pd.DataFrame]] = {
    "gsfs-table1": gsfs_tables.table1,
    "gsfs-table2": gsfs_tables.table2,
    "gsfs-table3": gsfs_tables.table3,
    "gsfs-groups": gsfs_groups.table,
    "gsfs-prompts": prompt_table.table,
    "edge-fit-table3": edge_fit_tables.table3,
    "edge-fit-table4": edge_fit_tables.table4,
    "edge-fit-gains": edge_fit_gains.table,
    "edge-fit-variants": edge_fit_variants.table,
}
