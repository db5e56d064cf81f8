# Every target sets up what it needs; Python 3.11, 3.12 or 3.13 with venv is all that is assumed.
PYTHON ?= python3
PORT ?= 8000
LAB_FLAGS ?=
VENV := .venv/bin
UV := $(VENV)/uv
# every extra but `deep`, which has an environment of its own
EXTRAS := $(addprefix --extra ,book csp forecast kdb kdb-test lab loan order-book rl scale test)

# strict comparison of every output of every chapter, texts and figures
NBVAL := --nbval --nbval-current-env --nbval-sanitize-with=tests/notebooks/sanitize.cfg --nbval-cell-timeout=120
PYTEST := $(VENV)/python -m pytest -n 2 --dist loadfile

.PHONY: FORCE book serve test portable deep lab notebooks audit lint bench mutate lock clean

# uv installs the same lock file as pip would, some fifteen times faster
.venv/ok: requirements.lock pyproject.toml .venv/pyvenv.cfg
	$(VENV)/python -m pip install --quiet --disable-pip-version-check $$(grep -o '^uv==[^ ]*' requirements.lock)
	$(UV) pip install --quiet --python $(VENV)/python -r requirements.lock
	$(UV) pip install --quiet --python $(VENV)/python --no-deps --editable .
	touch $@

# made where there is none, and anew where PYTHON is given and is not the one that it was made with
.venv/pyvenv.cfg: FORCE
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and f"Python 3.11 to 3.13 is needed (make PYTHON=...); this is {sys.version}")'
	@wanted=$$($(PYTHON) -c 'import platform; print(platform.python_version())') && \
		if test ! -e $@ || { test "$(origin PYTHON)" != file && ! grep -qx "version = $$wanted" $@; }; then \
			echo "Python $$wanted for .venv"; $(PYTHON) -m venv --clear .venv; fi

# what does not go together with the lock, in an environment of its own; tests that need it are skipped without it
.venv-deep/ok: pyproject.toml
	$(PYTHON) -m venv --clear .venv-deep
	.venv-deep/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 stable-baselines3==2.9.2 "mpmath<1.4" pytest --editable ".[forecast,loan,rl]"
	touch $@

# another engine, which the replay of order books is compared with; it does not take the lock's numpy
.venv-hftbacktest/ok:
	$(PYTHON) -m venv --clear .venv-hftbacktest
	.venv-hftbacktest/bin/python -m pip install --quiet --disable-pip-version-check hftbacktest==2.4.4 "numpy<2.3"
	touch $@

book: .venv/ok
	$(VENV)/jupyter-book build . --toc book/_toc.yml --all -W -n --keep-going --quiet
	@echo "The book is built: open _build/html/index.html, or run make serve"

serve: book
	@echo "The book is at http://127.0.0.1:$(PORT)/ (Ctrl-C ends it)"
	@$(VENV)/python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

test: .venv/ok lint book
	$(PYTEST) -m "not deep" tests notebooks $(NBVAL)

# every chapter's outputs as this processor computes them and as one of 2008 does: the same text, the same figures
portable: .venv/ok
	$(PYTEST) notebooks $(NBVAL)
	$(VENV)/python notebooks/_old_processor.py $(PYTEST) notebooks $(NBVAL)

# oracles, faults, kills, extras in environments of their own: minutes; threads of BLAS only slow small matrices down
deep: .venv/ok .venv-deep/ok .venv-hftbacktest/ok book
	OPENBLAS_NUM_THREADS=1 $(VENV)/python -m pytest -m deep tests
	.venv-deep/bin/python -m pytest -m deep tests/stock_loan/test_lstm.py tests/learning/test_ppo.py tests/test_cli_train.py

# nothing leaves the machine: no news, no look for updates, no list of extensions
lab: .venv/ok
	@test "$$(id -u)" != 0 || case "$(LAB_FLAGS)" in *--allow-root*) ;; *) \
		echo "JupyterLab does not start as root: be another user, or say make lab LAB_FLAGS=--allow-root" >&2; exit 1;; esac
	$(VENV)/python notebooks/_contents.py
	@mkdir -p .venv/share/jupyter/lab/settings
	@cp notebooks/_lab_settings.json .venv/share/jupyter/lab/settings/overrides.json
	$(VENV)/jupyter lab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir=notebooks \
		--LabApp.default_url=/lab/tree/contents.ipynb --LabApp.news_url=None \
		--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --LabApp.extension_manager=readonly $(LAB_FLAGS)

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
	$(VENV)/mypy
	$(VENV)/lint-imports --no-cache

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
	rm -rf .venv .venv-deep .venv-hftbacktest _build build mmlib.egg-info .pytest_cache .ruff_cache .hypothesis .mypy_cache notebooks/contents.ipynb
	find . -name __pycache__ -prune -exec rm -rf {} +
