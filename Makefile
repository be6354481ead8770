PYTHON ?= python3
BIN := .venv/bin

.PHONY: explain test lint web docs clean

## explain the shipped photographs with the embedded model; pictures go to vitcam-output/
explain: .venv/installed
	$(BIN)/vitcam explain src/vitcam/photos/cat_and_cup.jpg --target cat --target cup --output vitcam-output/two-objects
	$(BIN)/vitcam explain src/vitcam/photos --output vitcam-output/photos

## run the tests
test: .venv/installed-for-tests
	$(BIN)/python -m pytest -n auto --maxprocesses 8

## check style, format and types
lint: .venv/installed-for-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

## build the page that explains photographs in the browser: web/dist/
web: .venv/installed-for-web
	npm --prefix web ci --ignore-scripts --no-audit --no-fund
	npm --prefix web run build
	$(BIN)/vitcam export --model embedded:photo --classes all --no-timing --output web/dist/model/model.onnx
	$(BIN)/python web/pack.py web/dist/model/model.onnx

## build the documentation; it goes to site/
docs: .venv/installed-for-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv vitcam-output test-output site web/dist web/node_modules

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-for-tests: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch .venv/installed $@

.venv/installed-for-web: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[export]'
	touch .venv/installed $@

.venv/installed-for-docs: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@
