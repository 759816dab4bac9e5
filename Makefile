# Each target does its own set-up, which is quick the second time.
# Needs Python 3.11 with venv, and make. Nothing here reads from standard input.

VENV := .venv
VENV_MB := 3000
PY := $(VENV)/bin/python
BENCH_PY := build/bench-venv/bin/python
BENCH_ONNX := build/bench/onnx
AUDIT := build/audit-venv/bin
ARGS ?=
PIP = -m pip --disable-pip-version-check --quiet --no-input
COMPILED = false
REQUIREMENTS := requirements.txt $(wildcard requirements/*.txt)
# On a terminal, one line counts the packages; after a failure, one line gives the reason.
SHOWN = deploy/shown $(PY) -m pip --disable-pip-version-check --no-input install

.DEFAULT_GOAL := help
.PHONY: help setup doctor setup-dev venv model serve test hostile check bench container-test space-test constraints lock \
  scale-setup scale-test audit-venv audit sbom openapi docs demo screenshots

USERS := serve demo setup doctor model test
HELP = awk -F ': .*\#\# ' -v users=' $(USERS) ' \
  '/^[a-z-]+:.*\#\# / && (index(users, " " $$1 " ") > 0) == wanted { printf "  make %-16s %s\n", $$1, $$2 }' wanted

help: ## list the targets
	@echo 'To use Miles (./miles --help lists its commands):'; $(HELP)=1 Makefile
	@echo 'To work on Miles:'; $(HELP)=0 Makefile

# Candidates are run, not only looked up, because a version manager's shim may exist for a Python that is not enabled.
venv:
	@[ -x $(PY) ] && $(PY) -c 'import pip, sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && exit 0; \
	if [ -e $(VENV) ] && [ -x $(PY) ]; then \
	  echo "$(VENV) is not a complete environment of Python 3.11: remove it (rm -r $(VENV)) and run make again" >&2; exit 1; fi; \
	free=$$(df -Pk . | awk 'NR == 2 { print int($$4 / 1024) }'); \
	if [ "$${free:-$(VENV_MB)}" -lt $(VENV_MB) ]; then \
	  echo "no space left on the disk: $$free MB free here, $(VENV) needs $(VENV_MB): free some space, then run make again" >&2; \
	  exit 1; fi; \
	for candidate in $(PYTHON) python3.11 python3 python; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; then \
	    echo "making $(VENV) with $$candidate"; \
	    "$$candidate" -m venv $(VENV) && exit 0; \
	    echo "$$candidate cannot make a virtual environment (on Debian and Ubuntu: apt install python3.11-venv)" >&2; \
	    exit 1; fi; done; \
	echo "Miles needs Python 3.11; python3.11, python3 and python are missing or another version." >&2; \
	echo "Install it, or pass its path: make PYTHON=/path/to/python3.11 ..." >&2; exit 1

setup: $(VENV)/.installed-requirements ## make .venv and install what serving and training need

# A stamp for each file makes the second run quick.
$(VENV)/.installed-requirements: $(REQUIREMENTS) | venv
	@echo "installing requirements.txt: 3 GB on disk and about two minutes, the first time"
	@deploy/shown deploy/install-torch $(PY) requirements.txt
	@$(SHOWN) -r requirements.txt
	@touch $@

$(VENV)/.installed-%: $(REQUIREMENTS) | setup
	@echo "installing requirements/$*.txt"
	@$(SHOWN) -r requirements/$*.txt
	@touch $@

# Uses any Python it finds, because it also runs before .venv exists.
doctor: ## report what this machine has, what is missing and how to get it
	@for candidate in $(PY) $(PYTHON) python3.11 python3 python; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 9))' >/dev/null 2>&1; then \
	    exec "$$candidate" -m deploy.doctor $(ARGS); fi; done; \
	echo "make doctor: needs Python 3.9 or newer; Miles itself needs Python 3.11" >&2; exit 1

setup-dev: $(VENV)/.installed-dev

# An existing file is never overwritten, and MILES_CHECKPOINT makes the demo unnecessary.
model: setup ## build the demo checkpoint unless there is a checkpoint, and compile it for this processor
	@[ -n "$$MILES_CHECKPOINT" ] || [ -f models/model_full.pt ] || $(PY) -m model.demo --out models/model_full.pt
	@[ -n "$$MILES_CHECKPOINT" ] || [ "$$MILES_ENGINE" = torch ] || $(COMPILED) || \
	  $(PY) -m model.compile models/model_full.pt --precision "$${MILES_PRECISION:-auto}"

# The service itself checks a bundle and recompiles it if necessary, so a newer bundle is not read here as well.
serve: COMPILED = find -L models/compiled -name bundle.json -newer models/model_full.pt 2>/dev/null | grep -q .
# exec: signals reach the server, not make.
serve: setup model ## start the service on port 7860, or PORT=...; MILES_ variables configure it
	@if [ -n "$$PORT" ]; then MILES_PORT="$$PORT"; export MILES_PORT; fi; exec $(PY) app.py

demo: setup model $(VENV)/.installed-demo ## run service, database and web page with 22 scored example rows until Ctrl-C; ARGS=--once plays the loop from scores to a better model and exits
	@exec $(PY) -m deploy.demo $(ARGS)

# The tests start Python hundreds of times, and without bytecode each start compiles every module again.
test: setup-dev scale-setup model ## run the tests; ARGS="-k words" selects some
	@exec env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest -n 3 $(ARGS)

hostile: setup-dev model ## attack the service and print each promise with its measured value; ARGS="-k words" selects some
	@exec $(PY) -m tests.hostile $(ARGS)

scale-setup: $(VENV)/.installed-scale ## install Ray into .venv, for deploy/ray_serve.py and ./miles score-dataset

scale-test: setup-dev scale-setup model ## kill parts of a local Ray cluster under load, measure a shared cache and print figures; ARGS="--rows 5000" is quicker
	@exec $(PY) -m tests.scale $(ARGS)

check: setup-dev scale-setup ## run ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

openapi: setup-dev ## write clients/openapi.json from the app and generate the TypeScript client's types
	@$(PY) -m deploy.openapi
	@$(PY) -m tests.support.node clients/typescript run generate

docs: setup-dev ## build the documentation as a site in build/site/html; a broken link is an error
	@exec $(PY) -m deploy.site $(ARGS)

screenshots: setup-dev model ## retake the page's screenshots in docs/; ARGS=URL uses a running service
	@exec $(PY) -m tests.support.screenshots $(ARGS)

# wrk generates the load; only root can install it. Peers that cannot be installed are reported, not fatal.
bench: setup model ## compare Miles with other servers, fifteen minutes; ARGS="--rounds 1 --seconds 2 --no-sweep" takes three
	@command -v wrk >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then apt-get install -y -q wrk; fi; }; \
	command -v wrk >/dev/null 2>&1 || { \
	  echo "make bench needs wrk, a load generator (on Debian and Ubuntu: apt-get install wrk)" >&2; exit 1; }
	@[ -x $(BENCH_PY) ] || $(PY) -m venv build/bench-venv; \
	$(BENCH_PY) $(PIP) install -r requirements/bench.txt || \
	  echo "make bench: some peers could not be installed; they are reported below" >&2
	@$(PY) -m benchmarks.harness.checkpoint
	@[ -f $(BENCH_ONNX)/image.int8.onnx ] || { \
	  $(PY) -m benchmarks.peers.afternoon export $(BENCH_ONNX) && \
	  $(BENCH_PY) -m benchmarks.peers.afternoon quantise $(BENCH_ONNX); } || \
	  echo "make bench: the network was not exported for ONNX Runtime; afternoon is left out" >&2
	@exec $(PY) -m benchmarks.side_by_side $(ARGS)

container-test: venv ## build the image with docker, podman or buildah and test it, read-only, as uid 1000
	@exec $(PY) -m tests.container $(ARGS)

space-test: setup model ## start a Gradio Space's files in a new environment as uid 1000; needs root
	@exec $(PY) -m tests.container.space $(ARGS)

# Direct requirements are pinned by hand; this resolves the rest in a clean environment.
constraints: ## rewrite requirements/constraints.txt from the requirements files, and requirements/serve.lock from both
	@exec deploy/refresh-constraints

lock: ## rewrite requirements/serve.lock: the serving container's packages with their hashes
	@exec deploy/refresh-lock

audit-venv: venv
	@[ -x $(AUDIT)/python ] || $(PY) -m venv build/audit-venv
	@deploy/shown $(AUDIT)/python $(PIP) install -r requirements/audit.txt

# --strict: a package that the advisory database does not know is a failure, not skipped.
audit: audit-venv ## check the Dockerfiles, and look for secrets in the files and known vulnerabilities in the pinned packages
	$(AUDIT)/hadolint Dockerfile deploy/ray/Dockerfile
	git ls-files -z | xargs -0 $(AUDIT)/detect-secrets-hook --baseline .secrets.baseline
	$(AUDIT)/pip-audit --strict --disable-pip --require-hashes -r requirements/serve.lock -r requirements/text-encoder.lock
	$(AUDIT)/pip-audit --strict --disable-pip --no-deps -r requirements/constraints.txt -r requirements/constraints-scale.txt

sbom: audit-venv ## write build/miles.cdx.json, the serving container's bill of materials (CycloneDX)
	@$(AUDIT)/cyclonedx-py requirements requirements/serve.lock --pyproject pyproject.toml \
	  --output-reproducible --output-format JSON --output-file build/miles.cdx.json
	@echo "build/miles.cdx.json"
