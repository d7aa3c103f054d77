# `make demo` and `make test` do everything on a fresh clone: they make an environment in .venv,
# install into it, and run. `make help` lists the rest.

# The first Python of at least 3.11 that is found.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null 2>&1 \
	&& $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
DEMO_MINUTES ?= 4
ifndef DEMO_OUT
DEMO_OUT := demo/photos-$(shell date +%Y%m%d-%H%M%S)
endif

PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test nightly lint docs wheel release clean help

# The photograph that is scored and repaired, china, is the one that isn't trained on.
demo: .venv/installed-codecs ## learn photographs for 4 minutes; draw some, score and repair another
	@$(BIN)/rgflow train photos --data patches:china --minutes $(DEMO_MINUTES) --out $(DEMO_OUT)
	@$(BIN)/rgflow score $$($(BIN)/python -c "import sklearn, pathlib as p; \
		print(p.Path(sklearn.__file__).parent / 'datasets' / 'images' / 'china.jpg')") \
		--model $(DEMO_OUT) --codecs '[all]'
	@$(BIN)/rgflow sample $(DEMO_OUT) -n 1 --size 128 192 --out $(DEMO_OUT)/pictures
	@$(BIN)/rgflow repair example:scratches --model $(DEMO_OUT) --out $(DEMO_OUT)/pictures

test: .venv/installed-dev ## a test of everything, in a few minutes
	@# Two processes with a thread each: with more they wait for one another. Each takes the next
	@# file of the order in conftest.py. In the end comes what was skipped, and why.
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -m "not slow" -n 2 --dist loadfile \
		--no-loadscope-reorder

nightly: .venv/installed-dev .venv/installed-nightly ## all tests: of more cases, and slow ones as well
	@$(BIN)/python -m pytest -rs --timeout 3600

lint: .venv/installed-dev ## style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: .venv/installed-docs ## the documentation, into docs/_build/html
	@$(BIN)/sphinx-build -W --keep-going -n -q docs docs/_build/html
	@echo "The documentation is in docs/_build/html/index.html."

wheel: .venv/installed-dev ## build the wheel, print its size, and use it where nothing else of rgflow is
	@rm -rf dist build/wheel
	@$(PIP) wheel -q --no-deps --no-build-isolation -w dist .
	@# An environment of its own, which finds the packages of .venv, but not its rgflow.
	@$(BIN)/python -m venv --without-pip build/wheel
	@$(BIN)/python -c "import sysconfig as s; print(s.get_path('purelib'))" \
		> $$(build/wheel/bin/python -c "import sysconfig as s; print(s.get_path('purelib'))")/venv.pth
	@$(PIP) --python build/wheel/bin/python install -q --no-deps dist/*.whl
	@build/wheel/bin/python tests/wheel.py dist/*.whl

release: .venv/installed-release ## check that all is ready for a release, and build its files
	@$(BIN)/python tests/releasing.py
	@$(MAKE) wheel
	@rm -rf dist
	@$(BIN)/python -m build
	@$(BIN)/python -m twine check --strict dist/*
	@ls -l dist
	@echo "Nothing was uploaded: \`$(BIN)/twine upload dist/*\` does that."

clean: ## remove what these commands made, except runs
	rm -rf .venv build dist docs/_build .pytest_cache .mypy_cache .ruff_cache

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Expected a Python of at least 3.11 on the PATH; there is none: \
	install one, or name it with make PYTHON=/path/to/python."; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	@echo "Installing into .venv; torch is large, so this may take minutes."
	@$(PIP) install -e .
	@touch $@

.venv/installed-%: pyproject.toml | .venv/bin/python
	@echo "Installing what '$*' needs into .venv; torch is large, so this may take minutes."
	@$(PIP) install -e '.[$*]'
	@touch .venv/installed $@
