# Two targets for a stranger (demo, test), the others for those who change the code.
PYTHON ?= python3
BIN := .venv/bin
# -e so that the checkout is what runs; the wheel is tested by tests/test_wheel.py.
STAMP := .venv/.stamp

# Tests start hundreds of processes: where nothing compiled may be kept, each would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check lint types format bench bench-engine sanitize docs clean

demo: $(STAMP)-run
	@rm -rf demo
	$(BIN)/convcli apply examples/coffee.png --kernel sobel --out-dir demo
	@echo "Six maps are in demo/coffee_sobel/; next their magnitude as one picture, demo/edges.png:"
	$(BIN)/convcli apply examples/coffee.png --kernel sobel -o demo/edges.png $$(test ! -t 2 || echo --show)

test: $(STAMP)-test
	$(BIN)/python -m pytest -n auto
	CONVCLI_NATIVE=never $(BIN)/python -m pytest -n auto -m 'not pure' $(CONTRACT)

# What holds with the compiled loops and without them.
CONTRACT := $(addprefix tests/test_,native.py conv2d.py conv_axes.py borders.py planner.py tone.py compare.py apply.py)

check: lint types

# The core under the address and undefined-behaviour sanitizers: thousands of cases in C, then through Python's door.
sanitize: $(STAMP)-test
	$(BIN)/python tests/sanitize.py

lint: $(STAMP)-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)-lint
	$(BIN)/mypy

format: $(STAMP)-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# README blocks and other text that is generated from the program itself; the comparison with other programs takes a minute.
docs: $(STAMP)-test
	$(BIN)/python tests/generate_docs.py
	$(BIN)/python examples/coming_from.py

bench: $(STAMP)-bench
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/peers.py

bench-engine: $(STAMP)-bench
	$(BIN)/python benchmarks/engine.py --threads 1
	$(BIN)/python benchmarks/engine.py

clean:
	rm -rf .venv demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -m venv .venv

# dependency groups by hand: pip learned --group only in 25.1.
group = $(shell $(BIN)/python -c 'import tomllib; print(" ".join("\"%s\"" % r for r in tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["$(1)"]))')

# pip compiles what it installs, but not an editable checkout: without this the first runs, or all of them where
# PYTHONDONTWRITEBYTECODE is set, would compile every module again.
$(STAMP)-run: pyproject.toml $(wildcard convcli/engine/native/*.[chi]*) convcli/engine/native/build.py | .venv/bin/python
	$(BIN)/python -m pip install --quiet -e .
	$(BIN)/python -m compileall -q convcli
	@touch $@

$(STAMP)-test: $(STAMP)-run
	$(BIN)/python -m pip install --quiet -e '.[formats,cloud]' $(call group,test)
	@touch $@

$(STAMP)-lint: $(STAMP)-test
	$(BIN)/python -m pip install --quiet $(call group,lint)
	@touch $@

$(STAMP)-bench: $(STAMP)-test
	$(BIN)/python -m pip install --quiet $(call group,bench)
	@touch $@
