"""The histories of all runs in one file, each read by itself."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedbench.evaluation.histories import Histories, collate
from fedbench.procedures.result import HISTORY


@pytest.fixture
def folders(tmp_path):
    """Three runs: of two rounds, of none, of one."""
    made = []
    for name, rounds in {"b": 2, "a": 0, "c": 1}.items():
        rows = [{"step": k, "round": k, "client": -1, "phase": "train", "loss": k / 3} for k in range(rounds)]
        made.append(tmp_path / name)
        made[-1].mkdir()
        pq.write_table(pa.Table.from_pylist(rows, schema=HISTORY), made[-1] / "history.parquet")
    return made


def test_each_history_comes_back_as_it_was(folders, tmp_path):
    collate(folders, tmp_path / "histories.parquet")
    histories = Histories(tmp_path / "histories.parquet")
    for folder in folders:
        own = pd.read_parquet(folder / "history.parquet")
        if len(own):
            pd.testing.assert_frame_equal(histories.of(folder.name), own)
        else:
            assert histories.of(folder.name).empty


def test_no_run_at_all_is_a_file_without_histories(tmp_path):
    collate([], tmp_path / "histories.parquet")
    assert Histories(tmp_path / "histories.parquet").of("a").empty
