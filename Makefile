# make demo   install, then run the exporter on a simulated business; open the URL it prints
# make test   install, then run all tests
# make bench  install, then measure: some twenty minutes, on a machine that does nothing else (benchmarks/README.md)
# make lint   format check, linter, types
# make rehearse  let each fault of the demo fire its alerts in a real Prometheus (ARGS="cost-spike": that one); some two hours
# make docs   write the metrics page, the schemas and the dashboards; make pictures draws the dashboards (node, Chromium, prometheus)
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test bench rehearse lint docs pictures clean

demo: $(STAMP)
	@exec $(BIN)/margin-exporter demo $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

bench: $(STAMP)
	@for one in scrape stripe_read stripe_backfill ledger_poll usage_rollup usage_peers reprice webhook memory demo_start forecast history; do \
	  $(BIN)/python -m benchmarks.$$one || exit 1; done

rehearse: $(STAMP)
	@exec $(BIN)/python prometheus/rehearse.py $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python -m exporter.metrics.catalogue > docs/metrics.md
	$(BIN)/python -m exporter.serve.schemas docs
	$(BIN)/python grafana/build.py

pictures: docs
	$(BIN)/python grafana/shots.py

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "margin-exporter needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12"; exit 1; }
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) grafana/shot/node_modules .mypy_cache .ruff_cache .pytest_cache build *.egg-info
