# One command a purpose: haiku, test, lint, types, format, bench, bench-smoke, peers, engines, masks, pictures,
# readme, clean. All is installed into .venv.
#
#   make haiku PROMPT="first snow" N=3 SEASON=winter SEED=7
#   make test PYTHON=python3.12
#
# PIP_ARGS is handed to pip, e.g. PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
# for a torch without CUDA on Linux.

PYTHON ?= python3
VENV   ?= .venv
PIP_ARGS ?=
ARGS   ?=

PROMPT ?= autumn rain
N      ?= 4
SEASON ?=
SEED   ?=

# What people write in PROMPT is theirs: quotes, spaces, $ and ; reach `haiku` through the environment,
# unread by make ($(value ...) does not expand) and unread by the shell ("$$HAIKU_...").
export HAIKU_PROMPT := $(value PROMPT)
export HAIKU_N      := $(value N)
export HAIKU_SEASON := $(value SEASON)
export HAIKU_SEED   := $(value SEED)
unexport PROMPT N SEASON SEED

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q $(PIP_ARGS) -c constraints.txt

.DELETE_ON_ERROR:
.PHONY: haiku install dev weights test lint types format bench bench-smoke peers engines masks pictures readme \
        clean help

help:
	@sed -n '/^# One/,/^$$/s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

haiku: $(VENV)/.core
	@$(BIN)/haiku write -n "$$HAIKU_N" $${HAIKU_SEASON:+--season "$$HAIKU_SEASON"} \
	  $${HAIKU_SEED:+--seed "$$HAIKU_SEED"} -- "$$HAIKU_PROMPT"

install: $(VENV)/.core
dev: $(VENV)/.dev
weights: $(VENV)/.weights

test: $(VENV)/.dev $(VENV)/.weights
	$(BIN)/pytest $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# mypy reads files, not import hooks: show it the packages laid out as an installation lays them out.
types: $(VENV)/.dev
	rm -rf build/types && mkdir -p build/types/constrained_gpt
	ln -s "$(CURDIR)"/constrained_gpt/* "$(CURDIR)/lexicon" "$(CURDIR)/kernels" build/types/constrained_gpt/
	cd build/types && "$(abspath $(BIN))/mypy" --config-file ../../pyproject.toml -p constrained_gpt

bench: $(VENV)/.dev $(VENV)/.weights
	$(BIN)/python bench/run.py $(ARGS)

bench-smoke: $(VENV)/.dev $(VENV)/.weights
	$(BIN)/python bench/run.py --smoke $(ARGS)
	for name in strategies decoder_cost tuned box; do $(BIN)/python bench/$$name.py --smoke || exit 1; done

# Syllable counters side by side: make peers ARGS="--corpus FILE --node-modules FOLDER/node_modules"
peers: $(VENV)/.dev
	$(BIN)/python bench/peers.py $(ARGS)

# Engines side by side, and what grammars' masks cost. The others come with: pip install -e '.[engines]'
engines: $(VENV)/.dev
	$(BIN)/python bench/decoding_peers.py $(ARGS)

masks: $(VENV)/.dev
	$(BIN)/python bench/mask_peers.py $(ARGS)

pictures: $(VENV)/.dev
	$(BIN)/python bench/plots.py

readme: $(VENV)/.dev
	$(BIN)/python bench/readme.py

$(VENV)/.made:
	$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 10) or sys.exit("Python %d.%d is too old: make PYTHON=python3.11, or any from 3.10 on" % v[:2])'
	$(PYTHON) -m venv "$(VENV)" || { rm -rf "$(VENV)"; \
	  $(PYTHON) -m pip install -q --user virtualenv && $(PYTHON) -m virtualenv -q "$(VENV)"; } || \
	  { echo 'No virtual environment could be made: install the venv module (Debian: apt install python3-venv).' >&2; exit 1; }
	@touch $@

$(VENV)/.core: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing into $(VENV); the first time takes some minutes." >&2
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.weights: $(VENV)/.core
	$(BIN)/haiku download smollm2
	@touch $@

clean:
	rm -rf "$(VENV)" build dist constrained_gpt.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
