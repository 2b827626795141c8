# Every target makes the environment it needs; VENV=path puts it elsewhere.
VENV ?= .venv
PYTHON ?= python3
# nproc would take OMP_NUM_THREADS for the number of cores.
CORES ?= $(shell env -u OMP_NUM_THREADS nproc)
BIN := $(abspath $(VENV))/bin
export PATH := $(BIN):$(PATH)
PLUGIN := workflow/plugins/snakemake_executor_plugin_submitit
export PYTHONPATH := $(CURDIR):$(CURDIR)/workflow:$(CURDIR)/$(PLUGIN)/src
# One thread a process: several on the same few cores slow each other down tenfold.
export OMP_NUM_THREADS ?= 1

.PHONY: env demo test bench faults quick lint clean-demo

env: $(VENV)/.installed

$(VENV)/.installed: envs/requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	# The packages of this checkout, for a shell in which the environment is activated.
	echo "$$PYTHONPATH" | tr : '\n' > "$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')/raat.pth"
	touch $@

demo: env
	snakemake --configfile config/demo.yaml --cores $(CORES) --quiet rules reason host
	@python -m raat_sweep show config/demo.yaml

test: env
	python -m pytest -n $(CORES) --dist worksteal

# Kills at random moments, failing storage, damaged files: KILLS=1000 for a night.
KILLS ?= 100
faults: env
	FAULTS_KILLS=$(KILLS) python -m pytest -n $(CORES) --dist worksteal -m faults tests/faults

# A training step beside a textbook's; BENCH="--methods raat --rounds 5", or "--help".
bench: env
	OMP_NUM_THREADS= python benchmarks/speed.py $(BENCH)

quick: env
	python -m pytest -n $(CORES) --dist worksteal -m "not slow"

lint: env
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-logo
	snakefmt --check Snakefile workflow
	snakemake --lint

clean-demo:
	rm -rf results/demo
