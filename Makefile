# `make help` lists the targets. All is installed into folders of the clone, which `make clean` removes.

# The Python that environments are made with.
PYTHON ?= python3
# The versions that the tests pass with. `CONSTRAINTS=` takes the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
# `TORCH=cpu` takes PyTorch's build for CPUs into a new .venv, from PyTorch's own index.
TORCH ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

BIN := .venv/bin
TOOLS := .venv-tools/bin
MINIMUM := .venv-minimum/bin
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n auto --maxprocesses 8

# What computes maps and measures, and so depends on the processor's instructions.
NUMERICAL := tests/recording/test_golden.py tests/recording/test_fast_linear.py tests/methods/test_gae.py \
	tests/methods/test_legrad.py tests/methods/test_gradcam.py tests/methods/test_rollout_options.py \
	$(filter-out %/test_gradient_rules.py,$(wildcard tests/relevance/test_*.py)) \
	$(addprefix tests/evaluation/metrics/,test_perturbation.py test_localization_metric.py test_road.py test_saco.py)
# What a change breaks first: no processes, browsers, runs or documentation, and not every method on every family.
FAST := tests/test_*.py tests/models tests/render tests/report
# What the oldest versions have to do.
OLDEST := tests/recording tests/methods tests/contract tests/cli tests/test_explain.py

# `make constraints UPGRADE=` keeps the versions there are and adds what is missing.
UPGRADE ?= --upgrade
COMPILE := $(TOOLS)/uv pip compile pyproject.toml --python-version 3.10 --no-python-downloads --quiet \
	--no-header --no-annotate

# pip reads these also where it makes an environment of its own, to build a package in.
export PIP_CONSTRAINT := $(CONSTRAINTS)
export PIP_BUILD_CONSTRAINT := $(CONSTRAINTS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help explain test test-fast test-isa test-minimum lint hooks web docs constraints dist test-wheel \
	check-version clean
.DEFAULT_GOAL := help

## say what there is
help:
	@awk '/^## /{line = substr($$0, 4); next} \
	  /^[a-z-]+:/ && line {sub(/:.*/, ""); printf "make %-13s %s\n", $$0, line} {line = ""}' Makefile
	@echo
	@echo 'Settings, as in `make explain TORCH=cpu`:'
	@echo '  PYTHON=python3.13   the Python that a new .venv is made with'
	@echo '  TORCH=cpu           the build of PyTorch for CPUs in a new .venv, a quarter of the size'
	@echo '  CONSTRAINTS=        the newest versions in a new .venv, instead of those of constraints.txt'

## explain the shipped photographs by the shipped model; pictures go to vitcam-output/
explain: .venv/installed
	$(BIN)/vitcam explain src/vitcam/photos/cat_and_cup.jpg --target cat --target cup --output vitcam-output/two-objects
	$(BIN)/vitcam explain src/vitcam/photos --output vitcam-output/photos

## run all tests
test: .venv/installed-for-tests
	$(PYTEST) $(PARALLEL)

## run the tests that a change breaks first, in under two minutes
test-fast: .venv/installed-for-tests
	$(PYTEST) $(PARALLEL) -q -m 'not slow' $(FAST)

## run the numerical tests as on processors with fewer instructions
test-isa: .venv/installed-for-tests
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 $(PYTEST) $(PARALLEL) -q $(NUMERICAL)
	ATEN_CPU_CAPABILITY=default VITCAM_TEST_MKLDNN=off $(PYTEST) $(PARALLEL) -q $(NUMERICAL)

## run the tests of explaining with the oldest versions that pyproject.toml allows; wants Python 3.10
test-minimum: .venv-minimum/installed
	$(MINIMUM)/python -m pytest $(PARALLEL) -q $(OLDEST)

## check style, format, types, workflows and the citation
lint: .venv/installed-for-tests .venv-tools/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(TOOLS)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(TOOLS)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(TOOLS)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(TOOLS)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

## have git check style, format and types before each commit
hooks: .venv/installed-for-tests .venv-tools/installed
	$(TOOLS)/pre-commit install

## build the page that explains photographs in the browser: web/dist/
web: .venv/installed-for-web
	npm --prefix web ci --ignore-scripts --no-audit --no-fund
	npm --prefix web run build
	$(BIN)/vitcam export --model embedded:photo --classes all --no-timing --output web/dist/model/model.onnx
	$(BIN)/python web/pack.py web/dist/model/model.onnx

## build the documentation: site/
docs: .venv/installed-for-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

## renew constraints.txt to the newest versions, and constraints-minimum.txt to the oldest; then run the tests
constraints: .venv-tools/installed
	cp constraints.txt .venv-tools/newest.txt
	$(COMPILE) --universal $(UPGRADE) --extra test --group tools --output-file .venv-tools/newest.txt
	$(COMPILE) --resolution lowest-direct --extra all --extra pytest --output-file .venv-tools/oldest.txt
	for pair in newest:constraints oldest:constraints-minimum; do \
	  from=.venv-tools/$${pair%%:*}.txt to=$${pair#*:}.txt; \
	  { sed -n '/^#/p' $$to; grep -vE '^(nvidia|cuda)-|^triton==|^ ' $$from; } > $$to.new && mv $$to.new $$to || exit 1; done

## build and check what goes to PyPI: dist/
dist: .venv-tools/installed
	rm -rf dist
	$(TOOLS)/python -m build
	$(TOOLS)/twine check --strict dist/*

## install the wheel of dist/ into a new environment outside of the clone, and explain a photograph there
test-wheel:
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(PYTHON) -m venv "$$folder/venv" \
	  && "$$folder/venv/bin/python" -m pip install dist/*.whl \
	  && cp src/vitcam/photos/cat_and_cup.jpg "$$folder/own.jpg" && cd "$$folder" \
	  && venv/bin/vitcam --version && venv/bin/vitcam explain own.jpg && test -s vitcam-output/own.panel.png

## check that a tag, as in TAG=v1.2.3, is what the package, the changelog and the citation say
check-version:
	grep -qx '__version__ = "$(TAG:v%=%)"' src/vitcam/__init__.py
	grep -q '^## \[$(TAG:v%=%)\]' CHANGELOG.md
	grep -qx 'version: $(TAG:v%=%)' CITATION.cff

## remove all that the other targets made
clean:
	rm -rf .venv .venv-* vitcam-output test-output site dist web/dist web/node_modules

# Set-up. pip shows what it does; PIP_QUIET=1 keeps it quiet.

define new-environment
	$(PYTHON) -m venv $(1)
	$(if $(filter cpu,$(TORCH)),@echo 'Installing the build of PyTorch for CPUs into $(1).'
	$(1)/bin/python -m pip install --index-url $(TORCH_INDEX) torch torchvision || { rm -rf $(1); \
	  echo 'PyTorch for CPUs could not be had from $(TORCH_INDEX). Without TORCH=cpu it comes from PyPI.' >&2; exit 1; })
endef

.venv/bin/python:
	$(call new-environment,.venv)

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo 'Installing vitcam into .venv. The first time takes some minutes, most of them for PyTorch, which on Linux'
	@echo 'is 3.5 GB to download and 6 GB on disk with its libraries for GPUs (TORCH=cpu: 0.4 GB and 1.3 GB).'
	$(BIN)/python -m pip install --editable .
	touch $@

.venv/installed-for-tests: pyproject.toml constraints.txt | .venv/bin/python
	@echo 'Installing vitcam and what its tests need into .venv: all extras, some 250 packages.'
	$(BIN)/python -m pip install --editable '.[test]'
	touch .venv/installed $@

.venv/installed-for-web: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --editable '.[export]'
	touch .venv/installed $@

.venv/installed-for-docs: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --editable '.[docs]'
	touch $@

.venv-minimum/installed: PIP_CONSTRAINT := constraints-minimum.txt
.venv-minimum/installed: pyproject.toml constraints-minimum.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10) and "the oldest versions want Python 3.10: PYTHON=…")'
	$(call new-environment,.venv-minimum)
	$(MINIMUM)/python -m pip install --editable '.[all,pytest]'
	touch $@

.venv-tools/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-tools
	$(TOOLS)/python -m pip install --upgrade pip
	$(TOOLS)/python -m pip install --group tools
	touch $@
