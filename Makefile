# Every target does its own set-up in .venv, from the pinned versions in constraints.txt.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint samples clean
.DEFAULT_GOAL := demo

demo: .venv/ready
	$(BIN)/lcaudit demo

# Two workers, one thread each: more threads than cores spin against each other.
test: .venv/tested lint
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: .venv/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

samples: .venv/ready
	$(BIN)/python sample_reports/build.py

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/tested: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,browser]'
	touch $@

clean:
	rm -rf .venv build dist lcaudit-demo lcaudit-report
