# Two commands on a fresh machine with Python 3.11: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export OMP_WAIT_POLICY := PASSIVE

STUDIES := install read_samples encoder_probe abstention retrieval latency precision policies

NATIVE := $(or $(CONSILIUM_HOME),$(HOME)/.local/share/consilium)/train/native
RECIPE := --config configs/train/native.toml --data ../shared/data

.PHONY: demo test check specialists native study study-native study-gsco study-experts study-polygenic clean weights

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

# Trains the native generalist and puts its adapter where the package ships it. On a GPU: benchmarks/native_gpu.py.
native: $(READY)
	$(BIN)/pip install -q -c constraints.txt -e ".[train]"
	$(BIN)/consilium train all $(RECIPE)
	cp $(NATIVE)/together/adapter.safetensors src/consilium/generalists/adapter/

study-native: native
	$(BIN)/consilium train question_only $(RECIPE)
	$(BIN)/consilium train unguided $(RECIPE)
	for stage in guided unguided together question_only; do $(BIN)/consilium train checkpoint --of $$stage $(RECIPE) || exit 1; done
	$(BIN)/python benchmarks/native_vqa.py --checkpoint native=$(NATIVE)/together/checkpoint --checkpoint question_only=$(NATIVE)/question_only/checkpoint
	$(BIN)/python benchmarks/native_diagnosis.py --checkpoint native=$(NATIVE)/together/checkpoint
	$(BIN)/python benchmarks/native_guided.py --checkpoint native=$(NATIVE)/together/checkpoint --checkpoint guided=$(NATIVE)/guided/checkpoint --checkpoint plain=$(NATIVE)/unguided/checkpoint
	$(BIN)/python benchmarks/native_experts.py --checkpoint native=$(NATIVE)/together/checkpoint
	$(BIN)/python benchmarks/native_experts_unlearnt.py --checkpoint native=$(NATIVE)/together/checkpoint
	$(BIN)/python benchmarks/native_speed.py --checkpoint $(NATIVE)/together/checkpoint
	$(BIN)/python benchmarks/native_train_speed.py --shards $(NATIVE)/shards
	$(BIN)/python benchmarks/native_ablation.py --shards $(NATIVE)/shards --out-folder $(NATIVE)/ablation

# Suites of specialists on eleven sets, every policy at home and out of domain, kept in CONSILIUM_HOME/studies. Interrupted, it goes on.
study-gsco: $(READY)
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	$(BIN)/python benchmarks/gsco.py
	$(BIN)/python benchmarks/arbitration.py
	$(BIN)/python benchmarks/cost_ledger.py
	$(BIN)/python benchmarks/evaluate_speed.py

# Experts on call: segmenters, prompts by box and point, volumes, the choice of an expert.
study-experts: $(READY)
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	for study in segmentation sliding medsam volumes triggers; do $(BIN)/python benchmarks/$$study.py || exit 1; done

# Polygenic scores: as exact and as fast as plink2, if it is installed; and what a risk image adds to them.
study-polygenic: $(READY)
	$(BIN)/pip install -q -c constraints.txt -e ".[dev,study]"
	$(BIN)/python benchmarks/prs_speed.py
	$(BIN)/python benchmarks/prs_linear.py
	$(BIN)/python benchmarks/polygenic.py
	$(BIN)/python benchmarks/polygenic_native.py

study: $(READY)
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	for study in $(STUDIES); do $(BIN)/python benchmarks/$$study.py || exit 1; done
	$(BIN)/python benchmarks/readme_figures.py
	CONSILIUM_HOME=$(VENV)/nobody $(BIN)/python benchmarks/write_cards.py

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
