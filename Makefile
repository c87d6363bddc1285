# make demo: from nothing to a trained network in minutes. make test: the tests. make test-slow: the slow ones.
# Modules are compiled once: the tests start the commands a hundred times.
export PYTHONDONTWRITEBYTECODE :=
PYTHON ?= python3
BIN := .venv/bin
PUBLIC := campplus-zh-en
DEMO_TRIALS := --test_list data/demo/test_list.txt --test_path data/demo
DEMO_SCORES := exps/demo/result/eval/test_list.scores.txt
DEMO_A := data/demo/test/ls0533/1066/0008.wav
DEMO_B := data/demo/test/ls0533/1066/0001.wav
DEMO_C := data/demo/test/ls3331/159605/0000.wav

.PHONY: install demo demo-public demo-finetune test test-slow lint check clean

install: .venv/installed

.venv/installed: .venv/commands requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# What the commands need; the rest is for tests.
.venv/commands: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

demo: .venv/commands
	$(BIN)/python dataprep.py --demo --save_path data/demo
	$(BIN)/python trainSpeakerNet.py --config configs/demo.yaml --save_path exps/demo
	$(BIN)/python trainSpeakerNet.py --eval --initial_model exps/demo/model/best.model $(DEMO_TRIALS) --save_path exps/demo
	@if $(BIN)/python inferSpeakerNet.py fetch $(PUBLIC) > /dev/null; then $(MAKE) --no-print-directory demo-public; \
	else echo "the demo goes on without $(PUBLIC), which can't be fetched"; fi
	$(BIN)/python tuneThreshold.py $(DEMO_SCORES) --intervals --store exps/demo/model/best.model | grep EER
	@echo "figures, plots and recordings to listen to: exps/demo/result/eval/report.html"
	@echo "one speaker?  $(BIN)/python inferSpeakerNet.py compare $(DEMO_A) $(DEMO_B) --initial_model exps/demo"
	@echo "two speakers? $(BIN)/python inferSpeakerNet.py compare $(DEMO_A) $(DEMO_C) --initial_model exps/demo"

# What a public model reaches on the same trials.
demo-public: .venv/commands
	$(BIN)/python trainSpeakerNet.py --eval --initial_model $(PUBLIC) $(DEMO_TRIALS) --save_path exps/demo_public
	$(BIN)/python tuneThreshold.py exps/demo_public/result/eval/test_list.scores.txt --intervals | grep EER

# What ten minutes of fine-tuning add to it.
demo-finetune: .venv/commands
	$(BIN)/python dataprep.py --demo --save_path data/demo
	$(BIN)/python trainSpeakerNet.py --config configs/demo_finetune.yaml --save_path exps/demo_finetune
	$(BIN)/python trainSpeakerNet.py --eval --initial_model exps/demo_finetune/model/best.model $(DEMO_TRIALS) \
		--save_path exps/demo_finetune
	$(MAKE) --no-print-directory demo-public
	$(BIN)/python tuneThreshold.py compare exps/demo_public/result/eval/test_list.scores.txt \
		exps/demo_finetune/result/eval/test_list.scores.txt

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
	rm -rf .venv data/demo exps/demo exps/demo_public exps/demo_finetune
