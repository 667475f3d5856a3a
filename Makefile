# make demo   set everything up in .venv, pull the default model, complete a hole in a real file
# make test   set everything up in .venv, lint, type-check, run every test
# make vscode, neovim, emacs, helix, jetbrains
#             let that editor use this clone, with the default model; ARGS=--dry-run only says what
#             would be written, ARGS=--remove takes it back (docs/editors.md)
# make screens
#             pictures of the editors in a terminal, for docs/images
# make wheel  a wheel for this platform in dist/, with the int8 kernels compiled
# make rigs   put real editors into .venv (Neovim, VS Code in a browser, Emacs, Helix) and a Kotlin
#             compiler, which their tests then use; what cannot be had is skipped, with the reason

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two test workers with one torch thread each: tests share the cores with nothing else.
PYTEST_WORKERS ?= 2
TORCH := 2.13.0

export PIP_DISABLE_PIP_VERSION_CHECK := 1

PLATFORM = $(shell $(BIN)/python -c "import sysconfig; print(sysconfig.get_platform())")
EDITORS := vscode neovim emacs helix jetbrains

.PHONY: setup demo test $(EDITORS) screens rigs rig-neovim lint format wheel clean

demo: setup
	$(BIN)/nemodiff models pull
	$(BIN)/nemodiff complete docs/examples/inventory.py --line 26 --column 8

test: $(VENV)/dev lint
	$(BIN)/nemodiff models pull || echo "The default model is not available: its tests will be skipped."
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal --ignore=tests/editors
	# Whole files at a time: each brings an editor, a server, an engine and maybe a browser.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile tests/editors

rigs: rig-neovim
	-$(BIN)/python tests/rigs/get_emacs.py
	-$(BIN)/python tests/rigs/get_vscode.py
	-$(BIN)/python tests/rigs/get_kotlin.py

rig-neovim: $(VENV)/dev
	-$(BIN)/python tests/rigs/get_neovim.py

$(EDITORS): setup
	$(BIN)/nemodiff models pull
	$(BIN)/python editors/install.py $@ $(ARGS)

screens: $(VENV)/dev
	$(BIN)/nemodiff models pull
	$(BIN)/python tests/rigs/screens.py

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(VENV)/base

# torch comes first and by itself: left to the resolver, a machine without a GPU would download
# gigabytes of CUDA packages. The +cpu build is taken from wherever pip finds one; where it finds
# none, uv knows the publisher's index of CPU builds.
$(VENV)/torch:
	$(PYTHON) -m venv $(VENV)
	if command -v nvidia-smi >/dev/null 2>&1; then \
		$(BIN)/pip install -q -c constraints.txt torch==$(TORCH); \
	else \
		$(BIN)/pip install -q -c constraints.txt torch==$(TORCH)+cpu \
		|| { $(BIN)/pip install -q uv && $(BIN)/uv pip install -q --python $(BIN)/python \
			-c constraints.txt --torch-backend cpu torch==$(TORCH); }; \
	fi
	touch $@

$(VENV)/base: $(VENV)/torch pyproject.toml constraints.txt
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/dev: $(VENV)/base
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

# What it is built from may not stay behind: it would stand before what the sources say.
wheel: $(VENV)/base
	$(BIN)/python -m engine.native build --into build/native
	mkdir -p dist
	cp build/native/int8-*.so engine/native/
	$(BIN)/pip wheel -q --no-deps -w dist . --config-settings="--build-option=--plat-name=$(PLATFORM)"; \
		failed=$$?; rm -f engine/native/int8-*.so; exit $$failed
	rm -rf build

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
