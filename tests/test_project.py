"""The project's own files hold to each other: lock, environment, layout, pages."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "mmlib").rglob("*.py")
    if path.name != "__init__.py"
)
#: What a chapter or a reader may import: not private, and not the command line, which documents itself (`--help`).
PUBLIC = [module for module in MODULES if "._" not in module and not module.startswith("mmlib.cli.")]


def locked():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        canonicalize_name(requirement.name): requirement
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate()
    }


def test_installed_versions_are_the_locked_ones():
    installed = {canonicalize_name(found.name): found.version for found in distributions()}
    differing = {
        name: (installed.get(name), str(requirement.specifier))
        for name, requirement in locked().items()
        if installed.get(name) is None or not requirement.specifier.contains(installed[name], prereleases=True)
    }
    assert differing == {}


def test_every_dependency_of_pyproject_is_locked_within_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    lock = locked()
    for requirement in map(Requirement, wanted):
        version = str(lock[canonicalize_name(requirement.name)].specifier).removeprefix("==")
        assert requirement.specifier.contains(version), requirement


def test_conda_users_get_the_same_lock_file():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"] == ["python=3.11", "pip", {"pip": ["-r requirements.lock", "-e ."]}]


def test_importing_mmlib_loads_nothing_heavy():
    heavy = ["numpy", "scipy", "pandas", "numba", "matplotlib", "ortools", "pulp", "duckdb", "pandera", "papermill"]
    code = f"import sys, mmlib; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_importing_the_halves_loads_no_optional_dependency():
    optional = ["ortools", "pulp", "duckdb", "pandera", "highspy", "pyarrow", "matplotlib", "quantecon"]
    code = f"import sys, mmlib.market_making, mmlib.stock_loan; print([n for n in {optional} if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_module_has_its_place_in_the_api_pages(module):
    pages = "".join(page.read_text() for page in (ROOT / "book" / "api").glob("*.md"))
    assert re.search(rf"automodule:: {re.escape(module)}\n", pages)


def test_private_modules_have_no_api_page():
    pages = "".join(page.read_text() for page in (ROOT / "book" / "api").glob("*.md"))
    assert not re.search(r"automodule:: mmlib[\w.]*\._", pages)


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_longer_than_one_sitting(module):
    lines = (ROOT / (module.replace(".", "/") + ".py")).read_text().splitlines()
    assert len(lines) <= 400


def test_the_halves_do_not_import_each_other():
    for half, other in (("market_making", "stock_loan"), ("stock_loan", "market_making")):
        for path in (ROOT / "mmlib" / half).rglob("*.py"):
            assert f"mmlib.{other}" not in path.read_text(), path
