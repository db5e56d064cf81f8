"""What a command costs before it works: processor seconds of the process and its children, best of some turns.

    python benchmarks/start.py [FOLDER] [--fresh]

**Start.** A chapter without imports and without work, run by `mmlib run` and by papermill's command line: what is left
is the program, the kernel, and the messages between them. **Start and imports.** The same with the first cell of a
chapter on market making, and the table of results. Both ways must leave the same results.

**The program.** `mmlib --help` against Python with typer imported: what the commands' modules add.

Modules are compiled once, as for a user, or with `--fresh` by each process, as in a container that keeps nothing. With
the FOLDER of another mmlib, as `git worktree add` makes it, `mmlib run` is compared with that one's instead.
"""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from mmlib.chapter import read_results

IMPORTS = """\
import matplotlib.pyplot as plt
import numpy as np
from mmlib import chapter, checks, plotting
from mmlib.market_making import Market, cartea_jaimungal, evaluate, glft
plotting.style()
"""
CELLS = {"start": "pass", "start and imports": f"{IMPORTS}\nchapter.results(x=x)"}


def notebook(path, work):
    parameters = nbformat.v4.new_code_cell("x = 1.0  # any number", metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(work)], metadata=kernel), path)


def seconds(*command, **environment):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, env=os.environ | environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compared(name, ours, other, turns=5, **environment):
    """Print both, each the best of turns taken alternately; the environment is for the other one."""
    pairs = [(seconds(*ours), seconds(*other, **environment)) for _ in range(turns)]
    a, b = (min(column) for column in zip(*pairs, strict=True))
    print(f"{name:18} {a:5.2f} s, {b:5.2f} s: {a / b:.2f}")


def main():
    python = [sys.executable, "-P", "-m"]
    folders = [name for name in sys.argv[1:] if name != "--fresh"]
    older = {"PYTHONPATH": os.path.abspath(folders[0])} if folders else {}
    print("mmlib, the other way, ratio; processor seconds")
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1" if "--fresh" in sys.argv else ""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(folder, "compiled"))
        for name, work in CELLS.items():
            path, ours, other = (str(Path(folder, file)) for file in ("in.ipynb", "ours.ipynb", "other.ipynb"))
            notebook(path, work)
            run = [*python, "mmlib.cli", "run", path, "-p", "x", "2", "-o"]
            papermill = [*python, "papermill", path, other, "-p", "x", "2", "--no-progress-bar"]
            compared(name, [*run, ours], [*run, other] if older else papermill, **older)
            found = [read_results(nbformat.read(file, as_version=4)) for file in (ours, other)]
            if found[0] != found[1]:
                raise SystemExit(f"{name}: other results: {found}")
        compared("--help", [*python, "mmlib.cli", "--help"], [sys.executable, "-c", "import typer"])


if __name__ == "__main__":
    main()
