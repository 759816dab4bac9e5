# What people and .ci/run use. Each target does all of its own set-up; the second time it is quick.
# Needs Python 3.11 with venv, and make. Nothing here reads from standard input.

VENV := .venv
PY := $(VENV)/bin/python
BENCH_PY := build/bench-venv/bin/python
AUDIT := build/audit-venv/bin
ARGS ?=
PIP = -m pip --disable-pip-version-check --quiet --no-input
REQUIREMENTS := requirements.txt $(wildcard requirements/*.txt)
PIP_FAILED := { echo "pip failed: check the network and the free disk space (about 3 GB), then run make again" >&2; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help setup doctor setup-dev venv model serve test hostile check bench container-test constraints lock \
  scale-setup scale-test audit-venv audit sbom openapi demo screenshots

USERS := serve demo setup doctor model
HELP = awk -F ': .*\#\# ' -v users=' $(USERS) ' \
  '/^[a-z-]+:.*\#\# / && (index(users, " " $$1 " ") > 0) == wanted { printf "  make %-16s %s\n", $$1, $$2 }' wanted

help: ## list the targets
	@echo 'To use Miles (./miles --help lists its commands):'; $(HELP)=1 Makefile
	@echo 'To work on Miles:'; $(HELP)=0 Makefile

# Candidates are run, not only looked up: a version manager's shim may exist for a Python that is not enabled.
venv:
	@[ -x $(PY) ] && $(PY) -c 'import pip, sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && exit 0; \
	if [ -e $(VENV) ] && [ -x $(PY) ]; then \
	  echo "$(VENV) is not a complete environment of Python 3.11: remove it (rm -r $(VENV)) and run make again" >&2; exit 1; fi; \
	for candidate in $(PYTHON) python3.11 python3 python; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; then \
	    echo "making $(VENV) with $$candidate"; \
	    "$$candidate" -m venv $(VENV) && exit 0; \
	    echo "$$candidate cannot make a virtual environment (on Debian and Ubuntu: apt install python3.11-venv)" >&2; \
	    exit 1; fi; done; \
	echo "Miles needs Python 3.11, and neither python3.11, python3 nor python is one." >&2; \
	echo "Install it, or name it: make PYTHON=/path/to/python3.11 ..." >&2; exit 1

setup: $(VENV)/.installed-requirements ## make .venv and install what serving and training need

# A stamp for each file makes the second run quick.
$(VENV)/.installed-requirements: $(REQUIREMENTS) | venv
	@echo "installing requirements.txt (the first time takes minutes)"
	@deploy/install-torch $(PY) requirements.txt || $(PIP_FAILED)
	@$(PY) $(PIP) install -r requirements.txt || $(PIP_FAILED)
	@touch $@

$(VENV)/.installed-%: $(REQUIREMENTS) | setup
	@echo "installing requirements/$*.txt"
	@$(PY) $(PIP) install -r requirements/$*.txt || $(PIP_FAILED)
	@touch $@

# With the best Python there is: it also runs before .venv exists.
doctor: ## say what this machine has, what is missing and how to get it
	@for candidate in $(PY) $(PYTHON) python3.11 python3 python; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 9))' >/dev/null 2>&1; then \
	    exec "$$candidate" -m deploy.doctor $(ARGS); fi; done; \
	echo "No Python 3.9 or newer is here to look around with. Miles needs Python 3.11: install it." >&2; exit 1

setup-dev: $(VENV)/.installed-dev

# An operator's own file is never touched, and one that lies elsewhere makes the demo needless.
model: setup ## compose the demo checkpoint unless there is one, and compile it for this processor
	@[ -n "$$MILES_CHECKPOINT" ] || [ -f models/model_full.pt ] || $(PY) -m model.demo --out models/model_full.pt
	@[ -n "$$MILES_CHECKPOINT" ] || [ "$$MILES_ENGINE" = torch ] || \
	  $(PY) -m model.compile models/model_full.pt --precision "$${MILES_PRECISION:-auto}"

# exec: the server takes make's place in line for signals.
serve: setup model ## start the service; PORT=... moves it from 7860, every MILES_ variable reaches it
	@if [ -n "$$PORT" ]; then MILES_PORT="$$PORT"; export MILES_PORT; fi; exec $(PY) app.py

demo: setup model $(VENV)/.installed-demo ## service, database, web page and 22 scored example rows at once, until Ctrl-C; ARGS=--once ends by itself
	@exec $(PY) -m deploy.demo $(ARGS)

test: setup-dev scale-setup model ## run the tests; ARGS="-k words" chooses
	@exec $(PY) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder $(ARGS)

hostile: setup-dev model ## measure every promise and print the table; ARGS="-k words" chooses
	@exec $(PY) -m tests.hostile $(ARGS)

scale-setup: $(VENV)/.installed-scale ## install Ray into .venv, for deploy/ray_serve.py and deploy/score_dataset

scale-test: setup-dev scale-setup model ## hurt a local Ray cluster and a shared cache and print figures; ARGS="--rows 5000" is quicker
	@exec $(PY) -m tests.scale $(ARGS)

check: setup-dev scale-setup ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

openapi: setup-dev ## write clients/openapi.json from the app, and the TypeScript client's types from it
	@$(PY) -m deploy.openapi
	@$(PY) -m tests.support.node clients/typescript run generate

screenshots: setup-dev model ## take the pictures of the page in docs/ anew; ARGS=URL of a service that runs
	@exec $(PY) -m tests.support.screenshots $(ARGS)

# wrk loads the servers; only root can install it. Peers that cannot be installed are reported, not fatal.
bench: setup model ## Miles and its peers side by side, ten minutes; ARGS="--rounds 1 --seconds 2" for two
	@command -v wrk >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then apt-get install -y -q wrk; fi; }; \
	command -v wrk >/dev/null 2>&1 || { \
	  echo "make bench needs wrk, a load generator (on Debian and Ubuntu: apt-get install wrk)" >&2; exit 1; }
	@[ -x $(BENCH_PY) ] || $(PY) -m venv build/bench-venv; \
	$(BENCH_PY) $(PIP) install -r requirements/bench.txt || \
	  echo "make bench: the peers could not be installed; those that are missing are reported below" >&2
	@$(PY) -m model.compile "$${MILES_CHECKPOINT:-models/model_full.pt}"
	@exec $(PY) -m benchmarks.side_by_side $(ARGS)

container-test: venv ## build the image with docker, podman or buildah and try it, read-only, as uid 1000
	@exec $(PY) -m tests.container $(ARGS)

# Direct requirements are pinned by hand; this resolves the rest anew in a clean environment.
constraints: ## rewrite requirements/constraints.txt from the requirements files, and requirements/serve.lock from both
	@exec deploy/refresh-constraints

lock: ## rewrite requirements/serve.lock: the serving container's packages with their hashes
	@exec deploy/refresh-lock

audit-venv: venv
	@[ -x $(AUDIT)/python ] || $(PY) -m venv build/audit-venv
	@$(AUDIT)/python $(PIP) install -r requirements/audit.txt || $(PIP_FAILED)

# --strict: a package that the advisories' host does not know is a failure, not a skipped line.
audit: audit-venv ## look for faults in the Dockerfiles, secrets in the files, known vulnerabilities in the pins
	$(AUDIT)/hadolint Dockerfile deploy/ray/Dockerfile
	git ls-files -z | xargs -0 $(AUDIT)/detect-secrets-hook --baseline .secrets.baseline
	$(AUDIT)/pip-audit --strict --disable-pip --require-hashes -r requirements/serve.lock
	$(AUDIT)/pip-audit --strict --disable-pip --no-deps -r requirements/constraints.txt -r requirements/constraints-scale.txt

sbom: audit-venv ## write build/miles.cdx.json, the serving container's bill of materials (CycloneDX)
	@$(AUDIT)/cyclonedx-py requirements requirements/serve.lock --pyproject pyproject.toml \
	  --output-reproducible --output-format JSON --output-file build/miles.cdx.json
	@echo "build/miles.cdx.json"
