# Every recipe is a visible pip or snakemake line; nothing here that you could not type yourself.
# EXPERIMENT chooses a file of config/experiments; SNAKEMAKE_ARGS is passed on, e.g. SNAKEMAKE_ARGS="--dry-run".

EXPERIMENT ?= demo
PYTHON ?= python3

# The name becomes a path, in `make clean` one that is deleted: letters, digits, '.' and '-', as in the configuration.
residue := $(EXPERIMENT)
$(foreach c,a b c d e f g h i j k l m n o p q r s t u v w x y z 0 1 2 3 4 5 6 7 8 9 . -,$(eval residue := $$(subst $c,,$$(residue))))
ifneq ($(if $(EXPERIMENT),,empty)$(residue)$(word 2,$(EXPERIMENT))$(filter .% -%,$(EXPERIMENT)),)
$(error EXPERIMENT: not the name of an experiment, which is the name of a file of config/experiments without .yaml)
endif

# What jobs may set aside together; with more memory more runs go side by side.
MEM_MB ?= 6000
GPUS ?= 0
SNAKEMAKE = .venv/bin/snakemake --workflow-profile workflow/profiles/default --resources mem_mb=$(MEM_MB) gpu_count=$(GPUS) $(SNAKEMAKE_ARGS)

# A stamp is named after what it stands for: another lock, another stamp.
digest = $(shell cat $(1) pyproject.toml | cksum | cut -d' ' -f1)
# LOCK=cuda takes torch's CUDA libraries at pinned versions: for a machine with an NVIDIA GPU.
LOCK ?= cpu
CPU := .venv/$(LOCK)-$(call digest,$(sort envs/cpu.txt envs/$(LOCK).txt))
DEV := .venv/dev-$(call digest,$(sort envs/cpu.txt envs/$(LOCK).txt) envs/ray.txt envs/cluster.txt envs/crate.txt envs/dev.txt)
CRATE := .venv/crate-$(call digest,$(sort envs/cpu.txt envs/$(LOCK).txt) envs/crate.txt)

# Before torch is loaded: idle OpenMP threads sleep instead of spinning, and large tensors lie on huge pages.
export OMP_WAIT_POLICY = passive
export THP_MEM_ALLOC_ENABLE = 1

.PHONY: help setup demo real reproduce report crate reference why retry partial restored monitor test test-slow slurm lint bench bench-gpu clean chromium

help:
	@echo "make setup                 create .venv from the lock in envs/cpu.txt"
	@echo "make demo                  both papers on embedded synthetic data, in minutes"
	@echo "make real                  the same runs on real data (config/experiments/real.yaml says where it lies)"
	@echo "make reproduce EXPERIMENT=name   any file of config/experiments"
	@echo "make report EXPERIMENT=name      bind its results into one HTML file"
	@echo "make crate EXPERIMENT=name       its provenance as an RO-Crate"
	@echo "make reference EXPERIMENT=name   its tables as one page for git (results/reference)"
	@echo "make why EXPERIMENT=name TARGET=runs   what would run, and why (TARGET: a stage or files; all without it)"
	@echo "make retry EXPERIMENT=name       run the failed runs again, and nothing else"
	@echo "make partial EXPERIMENT=name     tables and report of what is there; what is missing is named"
	@echo "make restored                    after results/ was copied without its time stamps"
	@echo "make monitor EXPERIMENT=name     TensorBoard of its runs, also while they go on"
	@echo "make test                  every test and linter"
	@echo "make test-slow             the tests that are too long for make test"
	@echo "make lint                  linters alone"
	@echo "make bench                 speed and memory against named peers (results/bench)"
	@echo "make bench-gpu LOCK=cuda   GPU memory and speed of the 7B and 3.8B shapes (results/reference), where there is a GPU"
	@echo "make clean EXPERIMENT=name       delete its results"

setup: $(CPU)

$(CPU):
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -r envs/$(LOCK).txt
	.venv/bin/python -m pip install --no-deps --no-build-isolation -e .
	touch $@

$(DEV): $(CPU)
	.venv/bin/python -m pip install -r envs/dev.txt
	touch $@

$(CRATE): $(CPU)
	.venv/bin/python -m pip install -r envs/crate.txt
	touch $@

demo:
	@$(MAKE) --no-print-directory reproduce EXPERIMENT=demo MEM_MB=4000

real:
	@$(MAKE) --no-print-directory reproduce EXPERIMENT=real

# The first line takes away the lock of a pipeline that was killed, and only of such a one.
reproduce: setup
	@.venv/bin/python -m fedbench.engine
	$(SNAKEMAKE) --configfile config/experiments/$(EXPERIMENT).yaml
	@$(MAKE) --no-print-directory report

report: setup results/$(EXPERIMENT)/report.html
	@echo "Report:  results/$(EXPERIMENT)/report.html"
	@echo "Tables:  results/$(EXPERIMENT)/tables/"

results/%/report.html: results/%/summary.html $(wildcard workflow/report/*.rst)
	$(SNAKEMAKE) --configfile config/experiments/$*.yaml --report $@

# Every job, rule and file of the finished experiment as linked data, for an archive.
crate: $(CRATE)
	$(SNAKEMAKE) --configfile config/experiments/$(EXPERIMENT).yaml --reporter fairscape \
	  --report-fairscape-name "fedbench: $(EXPERIMENT)" --report-fairscape-path results/$(EXPERIMENT)/ro-crate-metadata.json

reference: setup
	.venv/bin/python -m fedbench.reporting.reference results/$(EXPERIMENT)

why: setup
	@$(SNAKEMAKE) --configfile config/experiments/$(EXPERIMENT).yaml --dry-run --quiet host -- $(TARGET) 2>&1 | .venv/bin/python -m fedbench.why

# The second line brings the tables up to date, and trains nothing that has not run.
retry: setup
	failed="$$(.venv/bin/python -m fedbench.failures config/experiments/$(EXPERIMENT).yaml)" && { test -z "$$failed" || \
	$(SNAKEMAKE) --configfile config/experiments/$(EXPERIMENT).yaml --forcerun $$failed -- $$failed; }
	@$(MAKE) --no-print-directory partial

partial: setup
	@$(MAKE) --no-print-directory reproduce SNAKEMAKE_ARGS="$(SNAKEMAKE_ARGS) --config partial=true"

restored: setup
	.venv/bin/python -m fedbench.records

# The first line writes the event files and, beside a workflow at work, keeps them up to date until TensorBoard ends.
monitor: setup
	.venv/bin/python -m fedbench.reporting.monitor results/$(EXPERIMENT) --follow & trap "kill $$!" EXIT; \
	.venv/bin/tensorboard --logdir results/$(EXPERIMENT)/tensorboard $(TENSORBOARD_ARGS)

test: $(DEV) chromium slurm
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow"

test-slow: $(DEV) slurm
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m slow

lint: $(DEV)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/snakefmt --check Snakefile rules
	.venv/bin/snakemake --lint
	.venv/bin/bandit --quiet --configfile pyproject.toml --recursive workflow
	@.venv/bin/python tests/vulnerabilities.py

bench: $(DEV)
	OMP_NUM_THREADS=1 .venv/bin/python tests/bench/training.py
	OMP_NUM_THREADS=1 .venv/bin/python tests/bench/strategies.py
	OMP_NUM_THREADS=1 .venv/bin/python tests/bench/grids.py
	OMP_NUM_THREADS=1 .venv/bin/python tests/bench/edge_fit.py
	OMP_NUM_THREADS=1 .venv/bin/python tests/bench/ingestion.py
	OMP_NUM_THREADS=1 .venv/bin/python tests/bench/scale.py

# Writes results/reference/vram.csv and .md; without a CUDA device it says so and leaves them as they are.
bench-gpu: setup
	.venv/bin/python tests/bench/gpu.py

# The profile for Slurm is tested on a real one; where it cannot be installed those tests are skipped and say so.
slurm:
	@if ! command -v slurmctld >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -q && apt-get install -q -y --no-install-recommends slurmctld slurmd slurm-client munge || true; fi

# The report is tested in a real browser; without one that test is skipped and says so.
chromium:
	@if ! command -v chromedriver >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -q && apt-get install -q -y --no-install-recommends chromium chromium-driver || true; fi

clean:
	rm -rf results/$(EXPERIMENT)
