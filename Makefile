# For everyone:
#   make demo          shows what smoothcam does
#   make test          checks that it works: lint, types and tests
# For a change (see CONTRIBUTING.md):
#   make check         lint, types and the tests that need no TensorFlow, in less than a minute
#   make test-long     also the tests that take minutes
#   make faults        deliberate faults, which the tests must notice
#   make format        formats the code
#   make schema        writes the JSON Schema of the manifest
#   make reference     writes docs/reference.md, the list of all options, and docs/smoothcam.1, the man page
#   make page          writes cam_cli/report/page.js, the script of the report, from its modules; needs node
#   make docs          writes site/, the documents as a site with search; a link that leads nowhere is an error
#   make notebook      runs docs/quickstart.ipynb and writes what it shows into it
#   make kinds         the table of the kinds of models in docs/models.md, after their tests
#   make architecture  writes docs/architecture.svg, the picture of the packages
# For dependencies and releases:
#   make lock          writes requirements-test.lock; UPGRADE=--upgrade takes the newest versions
#   make test-lowest   tests with the lowest versions that pyproject.toml allows
#   make audit         looks up known vulnerabilities of the locked versions
#   make dist          writes the wheel and the source archive
#   make clean         deletes everything that make has made
# For figures in the documents:
#   make bench         speed: tests/benchmarks/RESULTS.md; TORCH_PYTHON=... is a Python with torch-cam to compare with
#   make capacity      machines and hours: docs/capacity.md
#   make applications  the table in docs/applications.md
#   make accuracy      how often the bundled models are right: IMAGES=... has a folder for each class, named by its WordNet id

VENV := .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)

RESULTS := tests/benchmarks/RESULTS.md
LOCK := requirements-test.lock
PARALLEL := -n auto --maxprocesses 4 --dist loadfile
TOOLS := .venv-release
LOWEST := .venv-lowest
SITE := .venv-docs
LOCKING = $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate $(UPGRADE)

PURE = $(shell grep -rl --include='test_*.py' '^pytestmark = pytest.mark.pure' tests)

.PHONY: demo test check docs notebook faults kinds test-long test-lowest lint format schema page reference architecture lock audit dist bench capacity applications accuracy clean

demo: $(VENV)/demo
	$(VENV)/bin/smoothcam explain sample_images --config configs/demo.yaml
	$(VENV)/bin/smoothcam explain sample_images --config configs/demo_vgg16.yaml
	@echo
	@echo "Look at demo_out/sheet.jpg first: every sample image beside its maps by three methods."
	@echo "demo_vgg16_out/sheet.jpg shows three layers of VGG-16 for the same images."
	@echo "Then look at demo_out/<image>/: .overlay.jpg, .heatmap.png, .npy and manifest.json."

test: lint
	$(VENV)/bin/python -m pytest $(PARALLEL)

check: lint
	$(VENV)/bin/python -m pytest $(PARALLEL) -m "pure and not long" $(PURE)

kinds: $(VENV)/test
	$(VENV)/bin/python docs/tools/kinds.py

# An environment of its own: the site needs neither TensorFlow nor the package, and the tests need no site.
docs: $(SITE)/ready
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build
	@echo "To read it: $(PYTHON) -m http.server -d site, and open http://localhost:8000"

notebook: $(VENV)/demo
	$(VENV)/bin/python docs/tools/notebook.py

faults: $(VENV)/test
	$(VENV)/bin/python tests/faults/run.py

test-long: $(VENV)/test
	TESTS_LONG=1 $(VENV)/bin/python -m pytest $(PARALLEL) -m "long or not long"

# Installs exactly the lower bounds of pyproject.toml, and runs the demo and the core of the tests.
test-lowest: $(TOOLS)/ready
	$(PYTHON) -m venv --clear $(LOWEST)
	$(TOOLS)/bin/uv pip compile --quiet --resolution lowest-direct --python $(LOWEST)/bin/python --extra test \
		pyproject.toml --output-file $(LOWEST)/requirements.txt
	$(LOWEST)/bin/python -m pip install --quiet --no-deps --requirement $(LOWEST)/requirements.txt
	$(LOWEST)/bin/python -m pip install --quiet --no-deps .
	$(LOWEST)/bin/smoothcam explain sample_images --config configs/demo.yaml --output $(LOWEST)/demo_out
	$(LOWEST)/bin/python -m pytest tests/end_to_end/test_api.py tests/cli/test_cli.py tests/settings \
		tests/hostile/test_hostile_models.py tests/images/test_images.py tests/models/test_load.py \
		tests/results/test_manifest.py tests/report/test_report.py

lint: $(VENV)/test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/test
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

schema: $(VENV)/test
	$(VENV)/bin/python -m cam_cli.results.manifest > cam_cli/results/manifest.schema.json

page: node_modules/.package-lock.json
	npm run --silent page

node_modules/.package-lock.json: package.json package-lock.json
	npm ci --silent --no-audit --no-fund

reference: $(VENV)/test
	$(VENV)/bin/python docs/tools/reference.py
	$(VENV)/bin/python docs/tools/man.py

architecture: $(VENV)/test
	$(VENV)/bin/python docs/tools/architecture.py

# The lock has xplique without its dependencies. The extra `peers` in pyproject.toml lists those that are needed.
lock: $(TOOLS)/ready
	$(LOCKING) --custom-compile-command "make lock" pyproject.toml --extra test --extra lint --extra peers --output-file $(LOCK)
	echo "xplique>=2.0" > $(TOOLS)/xplique.in
	$(LOCKING) --no-deps --no-header $(TOOLS)/xplique.in >> $(LOCK)

audit: $(TOOLS)/ready
	$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes --requirement $(LOCK)

dist: $(VENV)/test
	$(VENV)/bin/python -m hatchling build --target sdist --target wheel

bench: SHELL := /bin/bash
bench: .SHELLFLAGS := -o pipefail -c
bench: $(VENV)/test
	$(VENV)/bin/python tests/benchmarks/bench.py $(if $(TORCH_PYTHON),--torch-python $(TORCH_PYTHON)) | tee $(RESULTS)
	$(VENV)/bin/python tests/benchmarks/scaling.py --png tests/benchmarks/scaling.png | tee -a $(RESULTS)
	$(VENV)/bin/python tests/benchmarks/steps.py --rounds 7 | tee -a $(RESULTS)

capacity: $(VENV)/test
	$(VENV)/bin/python tests/benchmarks/capacity.py

applications: $(VENV)/test
	$(VENV)/bin/python tests/benchmarks/applications.py

accuracy: $(VENV)/test
	$(VENV)/bin/python tests/benchmarks/accuracy.py $(IMAGES)

clean:
	rm -rf $(VENV) $(TOOLS) $(LOWEST) $(SITE) .cache site out node_modules demo_out demo_vgg16_out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "smoothcam needs Python 3.11, 3.12 or 3.13; name one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/test: pyproject.toml $(LOCK) | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --no-deps --require-hashes --requirement $(LOCK)
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/demo

$(SITE)/ready: pyproject.toml
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' \
		> $(SITE)/requirements.txt
	$(SITE)/bin/python -m pip install --quiet --requirement $(SITE)/requirements.txt
	@touch $@

$(TOOLS)/ready: pyproject.toml
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet "uv>=0.5" "pip-audit>=2.8"
	@touch $@
