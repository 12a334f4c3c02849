"""The table of predicted and measured GPU memory, the keys that choose its rows, and the benchmark that fills it."""

import importlib.util
import re
from pathlib import Path

import fake_results as fake
import pytest
import tiny
import torch

from fedbench.errors import FedbenchError
from fedbench.experiment import load as load_experiment
from fedbench.procedures.common import peak_vram
from fedbench.reporting import build, captions, memory_table
from fedbench.runs import runs, shapes
from fedbench.spec import MemorySpec, TrainingSpec

REPOSITORY = tiny.CONFIG.parent


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("gpu", REPOSITORY / "tests" / "bench" / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path) -> Path:
    """A checkout's configuration folder, without measurements beside it."""
    (tmp_path / "config").mkdir()
    for name in ("models", "tiers", "strategies", "captures"):
        (tmp_path / "config" / f"{name}.yaml").symlink_to(tiny.CONFIG / f"{name}.yaml")
    return tmp_path / "config"


def experiment(**memory):
    return fake.experiment(report={"memory": memory})


def test_table_answers_the_papers_question_and_says_what_nobody_measured(folder):
    frame = memory_table.table(experiment(), folder)
    assert len(frame) == 2 * 2 * 3 * 3
    assert set(frame["Measured (GiB), allocated"]) == {"not run"}
    assert all("make bench-gpu" in note for note in frame["note"])
    findings = frame.attrs["findings"]
    assert len(findings) == 2 * 4
    for model, tier in (("Llama 2 7B", "gateway 24 GB"), ("Phi-3 mini 4k", "edge 8 GB")):
        (said,) = (text for text in findings if text.startswith(model) and tier in text)
        plain, saved = re.findall(r"(\d+|none) / (?:\d+|none) / (?:\d+|none)", said.split("tokens")[1])
        assert 1 <= int(plain) < int(saved)  # at 512 tokens
    for _, row in frame.iterrows():
        fits, most = re.fullmatch(r"(yes|no) \((\d+|none)\)", row["Fits (largest batch), gateway 24 GB"]).groups()
        assert (fits == "yes") == (most != "none" and int(most) >= row["Batch"])
        parts = [row[f"Predicted (GiB), {part}"].value for part in memory_table.PARTS]
        assert parts[-1] == pytest.approx(sum(parts[:-1]))


def test_table_is_written_from_the_configuration_alone(tmp_path):
    chosen = experiment(models=["smollm2-135m-shape"], batches=[2], lengths=[256], tiers=["edge"], response=0.5)
    assert "edge-fit-memory" in build.table_names(chosen)
    build.table("edge-fit-memory", chosen, tmp_path, tiny.CONFIG / "published")
    text = (tmp_path / "tables" / "edge-fit-memory.md").read_text(encoding="utf-8")
    assert "NF4 with double quantisation, bfloat16 compute, LoRA r 16 on attention, adamw" in text
    assert "less 0.7 GB" in text
    assert not captions.is_synthetic(chosen, "edge-fit-memory")


@pytest.mark.parametrize(
    ("models", "complaint"),
    [
        (["llama-2-7b-shap"], "report.memory.models.*'llama-2-7b-shap' is not registered.*Did you mean"),
        (["phi-3-mini"], "report.memory.models.*'phi-3-mini' is not known before it is fetched.*kind random"),
    ],
)
def test_models_of_the_table_are_entries_of_known_shape(models, complaint):
    demo = load_experiment({"experiment": "demo", "report": {"memory": {"models": models}}}, folder=tiny.CONFIG)
    with pytest.raises(FedbenchError, match=complaint):
        runs(demo, tiny.REGISTRY)


def test_benchmark_measures_each_step_and_the_table_finds_it(bench, folder):
    spec = MemorySpec(
        models=["tiny-llama"], batches=[1, 2], lengths=[32], training=TrainingSpec(quantisation="nf4", dtype="bfloat16")
    )
    rows = list(bench.sweep(shapes(spec, tiny.REGISTRY), spec, torch.device("cpu")))
    assert len(rows) == 2 * (2 + 1)
    for row in rows:
        if row["optimizer"] == "adamw":
            assert row["status"] == "ok"
            assert row["tokens_per_second"] > 0
            assert row["operations_per_second"] > 0
            assert row["peak_allocated_bytes"] is None
            assert row["adapter_bytes"] == 4 * 2 * 4 * 16 * (64 + 64)
        else:
            assert "needs a CUDA device" in row["status"]
    measured = [row | {"peak_allocated_bytes": 2**30, "peak_reserved_bytes": 2**31} for row in rows[:-1]]
    measured[0] |= {"status": "out of memory", "peak_allocated_bytes": None}
    bench.write([*measured, rows[-1]], bench.told(torch.device("cpu")), folder.parent / memory_table.MEASURED)
    chosen = experiment(models=["tiny-llama"], batches=[1, 2], lengths=[32, 64], tiers=["edge"])
    table = memory_table.table(chosen, folder)
    frame = table.set_index(["Checkpointing", "Length", "Batch"])
    assert frame.loc[("no", 32, 1), "Measured (GiB), allocated"] == "out of memory"
    assert str(frame.loc[("no", 32, 2), "Measured (GiB), allocated"]) == "1.00"
    assert str(frame.loc[("yes", 32, 2), "Measured (GiB), reserved"]) == "2.00"
    assert frame.loc[("yes", 64, 2), "Measured (GiB), reserved"] == "not run"
    assert "in 3 rows" in table.attrs["findings"][-1]
    text = (folder.parent / memory_table.MEASURED).with_suffix(".md").read_text(encoding="utf-8")
    assert "- torch: " in text
    assert "- command: " in text


def test_benchmark_stops_beginning_cases_when_its_time_is_over(bench):
    spec = MemorySpec(models=["tiny-llama"], batches=[1], lengths=[32])
    rows = list(bench.sweep(shapes(spec, tiny.REGISTRY), spec, torch.device("cpu"), seconds=0))
    assert {row["status"] for row in rows} == {"not run: 0 s were over"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_benchmark_without_cuda_says_so_and_leaves_the_file_alone(bench, monkeypatch, tmp_path, capsys):
    kept = tmp_path / memory_table.MEASURED
    kept.parent.mkdir(parents=True)
    kept.write_text("measured elsewhere")
    monkeypatch.chdir(tmp_path)
    bench.main()
    assert "No CUDA device here" in capsys.readouterr().out
    assert kept.read_text() == "measured elsewhere"


def test_peak_of_gpu_memory_is_none_without_a_gpu():
    assert peak_vram(torch.device("cpu")) == {"peak_vram_bytes": None, "peak_vram_reserved_bytes": None}
