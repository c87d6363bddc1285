# make demo: from nothing to a trained network in minutes. make test: the tests. make test-slow: the slow ones.
# Modules are compiled once: the tests start the commands a hundred times.
export PYTHONDONTWRITEBYTECODE :=
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test test-slow lint check clean

install: .venv/installed

.venv/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

demo: install
	$(BIN)/python dataprep.py --demo --save_path data/demo
	$(BIN)/python trainSpeakerNet.py --config configs/demo.yaml --save_path exps/demo
	$(BIN)/python trainSpeakerNet.py --eval --initial_model exps/demo/model/best.model \
		--test_list data/demo/test_list.txt --test_path data/demo --save_path exps/demo

test: install
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

test-slow: install
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test

clean:
	rm -rf .venv data/demo exps/demo
