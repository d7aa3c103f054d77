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

.PHONY: demo test nightly lint docs wheel clean help

demo: .venv/installed ## learn photographs for 4 minutes; score, draw and repair others
	@$(BIN)/rgflow train photos --data patches:chelsea --minutes $(DEMO_MINUTES) --out $(DEMO_OUT)
	@$(BIN)/rgflow score $$($(BIN)/python -c "import skimage, pathlib as p; \
		print(p.Path(skimage.__file__).parent / 'data' / 'chelsea.png')") \
		--model $(DEMO_OUT) --codecs '[all]'
	@$(BIN)/rgflow sample $(DEMO_OUT) -n 1 --size 128 192 --out $(DEMO_OUT)/pictures
	@$(BIN)/rgflow repair example:scratches --model $(DEMO_OUT) --out $(DEMO_OUT)/pictures

test: .venv/installed-dev ## a test of everything, in a few minutes
	@# Two processes with a thread each: with more they wait for one another. Each takes the next
	@# file of the order in conftest.py.
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile \
		--no-loadscope-reorder

nightly: .venv/installed-dev ## all tests: of more cases, and slow ones as well
	@$(BIN)/python -m pytest --timeout 3600

lint: .venv/installed-dev ## style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: .venv/installed-dev ## the documentation, into docs/_build/html
	@$(BIN)/sphinx-build -W --keep-going -n -q docs docs/_build/html
	@echo "The documentation is in docs/_build/html/index.html."

wheel: .venv/installed-dev ## build the wheel, and run it outside the repository
	@rm -rf dist build/wheel
	@$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w dist .
	@$(BIN)/python -m pip install -q --no-deps --target build/wheel dist/rgflow-*.whl
	@cd / && PYTHONPATH=$(CURDIR)/build/wheel $(CURDIR)/$(BIN)/python -c "import rgflow; \
		assert 'build/wheel' in rgflow.__file__, rgflow.__file__; \
		from rgflow.pretrained import shipped; \
		names = list(shipped()); \
		assert names == '$(notdir $(sort $(wildcard src/rgflow/models/*)))'.split(), names; \
		flows = [rgflow.load_flow(name) for name in names]; \
		flows += [rgflow.RGFlow(rgflow.FlowConfig(height=16, width=16, map=rgflow.AffineMap(depth=1)))]; \
		print('The wheel works:', *flows[0].sample(2).shape, *names)"

clean: ## remove what these commands made, except runs
	rm -rf .venv build dist docs/_build .pytest_cache .mypy_cache .ruff_cache

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Expected a Python of at least 3.11 on the PATH; there is none: \
	install one, or name it with make PYTHON=/path/to/python."; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q -e .
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -q -e '.[dev,docs]'
	@touch .venv/installed $@
