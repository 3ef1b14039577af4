# Everything starts from a bare clone: the first target that needs it sets up .venv with the pinned packages.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
CONSTRAINTS = cluster/constraints.txt
EXTRAS = dev,comet
READY = $(VENV)/.ready
DEMO = runs/demo
export OMP_NUM_THREADS = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: demo test lint test-transformers5 bench clean

demo: $(READY)  ## Set up, make the demo corpus, and translate it with the embedded pair under a budget
	$(BIN)/python -m routelmt_ray.demo.corpus --out $(DEMO)/corpus
	$(BIN)/python jobs/translate.py --config configs/demo.yaml input.path=$(DEMO)/corpus run_dir=$(DEMO)/run

test: lint  ## Set up, check style and types, run the suite
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-transformers5:  ## The engine, the router and the whole job under transformers 5, in an environment of its own
	$(MAKE) VENV=.venv-transformers5 EXTRAS=dev CONSTRAINTS=cluster/constraints-transformers5.txt .venv-transformers5/.ready
	.venv-transformers5/bin/python -m pytest tests/engines tests/router tests/test_prompts.py tests/end_to_end/test_demo.py

bench: $(READY)  ## Measure; figures of record are kept in tests/benchmarks/RESULTS.md
	$(BIN)/python tests/benchmarks/bench_selection.py
	$(BIN)/python tests/benchmarks/bench_plumbing.py

$(READY): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable ".[$(EXTRAS)]"
	touch $@

clean:  ## Remove environments and runs
	rm -rf .venv .venv-transformers5 runs
