# Every target sets up what it needs; python3.11 with venv is all that is assumed.
PYTHON ?= python3
PORT ?= 8000
LAB_FLAGS ?=
VENV := .venv/bin
UV := $(VENV)/uv
# every extra but `deep`, which has an environment of its own
EXTRAS := $(addprefix --extra ,book csp forecast kdb kdb-test lab loan order-book rl scale test)

.PHONY: book serve test lab notebooks audit lint bench mutate lock clean

# uv installs the same lock file as pip would, some fifteen times faster
.venv/ok: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and f"Python 3.11 to 3.13 is needed (make PYTHON=...); this is {sys.version}")'
	$(PYTHON) -m venv .venv
	$(VENV)/python -m pip install --quiet --disable-pip-version-check $$(grep -o '^uv==[^ ]*' requirements.lock)
	$(UV) pip install --quiet --python $(VENV)/python -r requirements.lock
	$(UV) pip install --quiet --python $(VENV)/python --no-deps --editable .
	touch $@

book: .venv/ok
	$(VENV)/jupyter-book build . --toc book/_toc.yml --all -W -n --keep-going --quiet
	@echo "The book is built: open _build/html/index.html, or run make serve"

serve: book
	@echo "The book is at http://127.0.0.1:$(PORT)/ (Ctrl-C ends it)"
	@$(VENV)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

test: .venv/ok lint book
	$(VENV)/python -m pytest -n 2 --dist loadfile tests notebooks --nbval \
		--nbval-current-env --nbval-sanitize-with=tests/notebooks/sanitize.cfg --nbval-cell-timeout=120

lab: .venv/ok
	$(VENV)/jupyter lab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir=notebooks $(LAB_FLAGS)

# the one writer of committed outputs; NOTEBOOKS="path ..." for some of them
notebooks: .venv/ok
	$(VENV)/python notebooks/_write.py $(NOTEBOOKS)

# the one writer of book/audit.md, book/errata.md and data/ledger.csv
audit: .venv/ok
	$(VENV)/python book/_ledger.py
	$(VENV)/python book/_audit.py

lint: .venv/ok
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .

bench: .venv/ok
	for script in benchmarks/*.py; do echo "== $$script"; $(VENV)/python $$script || exit 1; done

# do the tests of a module see small changes of it? make mutate MODULE=mmlib/risk.py [TESTS=...] [FLAGS="--sample 60"]
mutate: .venv/ok
	$(VENV)/python tests/mutate.py $(MODULE) $(if $(TESTS),--tests $(TESTS)) $(FLAGS)

# UPGRADE=--upgrade takes the newest versions that pyproject.toml allows
lock: .venv/ok
	$(UV) pip compile pyproject.toml $(EXTRAS) --universal --python-version 3.11 --no-annotate --quiet $(UPGRADE) \
		--custom-compile-command "make lock" -o requirements.lock

clean:
	rm -rf .venv _build build mmlib.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
