# Every recipe is a visible pip or snakemake line; nothing here that you could not type yourself.
# EXPERIMENT chooses a file of config/experiments; SNAKEMAKE_ARGS is passed on, e.g. SNAKEMAKE_ARGS="--dry-run".

EXPERIMENT ?= demo
PYTHON ?= python3
SNAKEMAKE = .venv/bin/snakemake --workflow-profile workflow/profiles/default $(SNAKEMAKE_ARGS)

# A stamp is named after what it stands for: another lock, another stamp.
digest = $(shell cat $(1) pyproject.toml | cksum | cut -d' ' -f1)
CPU := .venv/cpu-$(call digest,envs/cpu.txt)
DEV := .venv/dev-$(call digest,envs/cpu.txt envs/ray.txt envs/dev.txt)

# Before torch is loaded: idle OpenMP threads sleep instead of spinning.
export OMP_WAIT_POLICY = passive

.PHONY: help setup demo real reproduce report monitor test lint bench clean chromium

help:
	@echo "make setup                 create .venv from the lock in envs/cpu.txt"
	@echo "make demo                  both papers on embedded synthetic data, in minutes"
	@echo "make real                  the same runs on real data (config/experiments/real.yaml says where it lies)"
	@echo "make reproduce EXPERIMENT=name   any file of config/experiments"
	@echo "make report EXPERIMENT=name      bind its results into one HTML file"
	@echo "make monitor EXPERIMENT=name     TensorBoard of its runs, also while they go on"
	@echo "make test                  every test and linter"
	@echo "make lint                  linters alone"
	@echo "make bench                 speed and memory against named peers (results/bench)"
	@echo "make clean EXPERIMENT=name       delete its results"

setup: $(CPU)

$(CPU):
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -r envs/cpu.txt
	.venv/bin/python -m pip install --no-deps --no-build-isolation -e .
	touch $@

$(DEV): $(CPU)
	.venv/bin/python -m pip install -r envs/dev.txt
	touch $@

demo:
	@$(MAKE) --no-print-directory reproduce EXPERIMENT=demo

real:
	@$(MAKE) --no-print-directory reproduce EXPERIMENT=real

reproduce: setup
	$(SNAKEMAKE) --configfile config/experiments/$(EXPERIMENT).yaml
	@$(MAKE) --no-print-directory report

report: setup results/$(EXPERIMENT)/report.html
	@echo "Report:  results/$(EXPERIMENT)/report.html"
	@echo "Tables:  results/$(EXPERIMENT)/tables/"

results/%/report.html: results/%/summary.html $(wildcard workflow/report/*.rst)
	$(SNAKEMAKE) --configfile config/experiments/$*.yaml --report $@

# The first line writes the event files and, beside a workflow at work, keeps them up to date until TensorBoard ends.
monitor: setup
	.venv/bin/python -m fedbench.reporting.monitor results/$(EXPERIMENT) --follow & trap "kill $$!" EXIT; \
	.venv/bin/tensorboard --logdir results/$(EXPERIMENT)/tensorboard $(TENSORBOARD_ARGS)

test: $(DEV) chromium
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(DEV)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/snakefmt --check Snakefile rules
	.venv/bin/snakemake --lint

bench: $(DEV)
	OMP_NUM_THREADS=1 .venv/bin/python tests/bench/training.py
	OMP_NUM_THREADS=1 .venv/bin/python tests/bench/grids.py

# The report is tested in a real browser; without one that test is skipped and says so.
chromium:
	@if ! command -v chromedriver >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -q && apt-get install -q -y --no-install-recommends chromium chromium-driver || true; fi

clean:
	rm -rf results/$(EXPERIMENT)
