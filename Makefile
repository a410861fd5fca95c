# Two commands on a fresh machine with Python 3.11: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export OMP_WAIT_POLICY := PASSIVE

STUDIES := install read_samples encoder_probe abstention retrieval latency precision policies

.PHONY: demo test check specialists study clean weights

demo: weights
	$(BIN)/consilium ask examples/chest_xray.jpg "Does this chest X-ray show pneumonia?" --options normal,pneumonia --out .

# Tests that need weights skip with a reason where none can be fetched.
test: $(READY)
	-$(BIN)/consilium weights fetch
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pytest -n 2

check: test
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

weights: $(READY)
	$(BIN)/consilium weights fetch

# Without compiled files the install is faster and smaller; Python compiles what is used.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --no-compile -c constraints.txt -e .
	touch $(READY)

specialists: $(READY)
	$(BIN)/python -m consilium.train.shipped configs/specialists.toml --data ../shared/data

study: $(READY)
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	for study in $(STUDIES); do $(BIN)/python benchmarks/$$study.py || exit 1; done
	$(BIN)/python benchmarks/readme_figures.py
	CONSILIUM_HOME=$(VENV)/nobody $(BIN)/python benchmarks/write_cards.py

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
