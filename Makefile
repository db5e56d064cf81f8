UV = .venv/bin/uv

# One rule sets up the environment; everything else depends on it. Needs python3.11 with venv, nothing more.
.venv/ok: requirements.lock pyproject.toml
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check $$(grep -o '^uv==[^ ]*' requirements.lock)
	$(UV) pip install --quiet --python .venv/bin/python -r requirements.lock
	$(UV) pip install --quiet --python .venv/bin/python --no-deps -e .
	touch $@

lock:
	uv pip compile pyproject.toml --extra book --extra csp --extra lab --extra loan --extra test --universal -o requirements.lock
