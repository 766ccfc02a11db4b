# Two commands: `make demo` and `make test`. Everything is installed into .venv; PYTHON picks the interpreter.
PYTHON ?= python3
BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
RUN := $(BIN)/python

.PHONY: demo test test-all coverage lint site clean

demo: .venv/demo.stamp
	$(RUN) train.py --outdir out/demo --data datasets/emoji32.zip --cfg demo --hours 0.15
	$(RUN) generate.py --network out/demo --seeds 0-63 --outdir out/demo/seeds --grid out/demo/grid.png --scale 4
	$(RUN) calc_metrics.py --network out/demo --metrics fd1k_full-efficientnet_lite0,fd1k_full-vgg16 --baselines
	@echo "Pictures: out/demo/grid.png (64 seeds), out/demo/seeds/, and what was learned when in out/demo/0*/fakes*.png"
	@echo "Four times as many images draw better (pretrained/README.md):"
	@echo "  $(RUN) train.py --outdir out --data datasets/emoji32.zip --cfg small"

test: .venv/dev.stamp
	$(RUN) -m pytest

test-all: .venv/dev.stamp
	$(RUN) -m pytest -m "slow or not slow"

coverage: .venv/dev.stamp
	$(RUN) -m pytest --cov --cov-report term --cov-report html:out/coverage

lint: .venv/dev.stamp
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

site: .venv/dev.stamp
	$(RUN) -m mkdocs build --strict
	@echo "The documents: out/site/index.html"

.venv/demo.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install -q -c constraints.txt -e ".[offline]"
	@touch $@

.venv/dev.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install -q -c constraints.txt -e ".[dev,offline]"
	@touch $@ .venv/demo.stamp

clean:
	rm -rf .venv out build *.egg-info
