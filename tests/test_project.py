"""The project's own files hold to each other: lock, environment, layout, pages."""

import ast
import json
import re
import subprocess
import sys
import tarfile
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mmlib

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
    extras = {name: extra for name, extra in project["optional-dependencies"].items() if name != "deep"}
    wanted = [*project["dependencies"], *(requirement for extra in extras.values() for requirement in extra)]
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


def test_the_version_has_one_place():
    """The package's own; the build reads it, and the citation says the same."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"] == ["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == mmlib.__version__
    assert f"\n## {mmlib.__version__} (" in (ROOT / "CHANGELOG.md").read_text()


def imported(path):
    """Names of the packages that a file imports anywhere in it, by `import` or through `optional.load`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "optional.load":
            yield node.args[0].value.partition(".")[0]


def test_dependencies_are_what_mmlib_imports_and_no_more():
    """An extra may bring more than is imported: an engine or a solver is named by a string."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    extra = {
        canonicalize_name(Requirement(text).name)
        for texts in project["optional-dependencies"].values()
        for text in texts
    }
    used = {name for path in (ROOT / "mmlib").rglob("*.py") for name in imported(path)}
    # whose package has another name
    other = {"sklearn": "scikit-learn", "IPython": "ipython", "dateutil": "python-dateutil"}
    used = {canonicalize_name(other.get(name, name)) for name in used - sys.stdlib_module_names - {"mmlib"}}
    assert base <= used <= base | extra


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git is asked which files are the project's")
def test_the_source_archive_has_everything_that_git_has(tmp_path):
    """Tests and data too; what is only here, caches and built pages, is left out."""
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, timeout=300)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        packed = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    tracked = {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
    assert tracked - packed == set()
    assert {name for name in packed - tracked if "cache" in name or "_build" in name} == set()


def test_every_python_that_is_promised_is_tried():
    """The workflow's matrix, the Makefile's check and pyproject say the same."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert wanted == ">=3.11,<3.14"
    for workflow, job in (("tests", "test"), ("weekly", "portable")):
        steps = yaml.safe_load((ROOT / ".github/workflows" / f"{workflow}.yml").read_text())["jobs"][job]
        assert steps["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "Makefile").read_text()


def test_the_lab_is_told_not_to_ask_about_news():
    """Its question is part of the page, so only its own settings end it; `make lab` puts them where it reads them."""
    settings = json.loads((ROOT / "notebooks" / "_lab_settings.json").read_text())
    schema = ROOT / ".venv" / "share" / "jupyter" / "lab" / "schemas" / "@jupyterlab" / "apputils-extension"
    known = json.loads((schema / "notification.json").read_text())["properties"]
    chosen = settings["@jupyterlab/apputils-extension:notification"]
    assert set(chosen) <= set(known)
    assert chosen == {"checkForUpdates": False, "fetchNews": "false"}
    assert (
        "cp notebooks/_lab_settings.json .venv/share/jupyter/lab/settings/overrides.json"
        in (ROOT / "Makefile").read_text()
    )
