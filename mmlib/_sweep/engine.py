"""Runs of a chapter from the side that waits for them: a preloaded parent where there is fork, papermill elsewhere."""

import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import mmlib

#: Times that a run is tried whose parent process dies of something else than the run.
TRIES = 3
#: Whether this system has what a preloaded parent needs.
FORKS = hasattr(os, "fork")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_OPEN: "weakref.WeakSet[Any]" = weakref.WeakSet()


class Abandoned(Exception):
    """A run that nobody waits for any more."""


@cache
def code() -> str:
    """A hash of mmlib's own source: the version stays while it is worked on."""
    folder = Path(mmlib.__file__).parent
    found = hashlib.sha256(mmlib.__version__.encode())
    for path in sorted(folder.rglob("*.py")):
        found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def program(notebook: dict[str, Any]) -> dict[str, Any]:
    """What a run needs of a chapter, as plain data: its code cells and the place of its parameters."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    tagged = [i for i, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", [])]
    return {"cells": [cell["source"] for cell in cells], "place": tagged[0] if tagged else -1}


class Engine:
    """A preloaded parent process of one chapter; a run at a time."""

    def __init__(self, program: dict[str, Any]):
        self.program = program
        self.process: Any = None
        self.folder: str | None = None
        _OPEN.add(self)

    def run(
        self, values: dict[str, Any], timeout: float | None = None, wanted: Callable[[], bool] | None = None
    ) -> dict[str, Any]:
        """{"results": …} or {"error": …} of one run; `wanted` is asked every second whether to go on.

        Raises
        ------
        Abandoned
            If it is not wanted any more; its process is killed.
        """
        for _ in range(TRIES):
            try:
                return self._asked({"values": values, "timeout": timeout}, wanted)
            except (OSError, EOFError):  # the parent was killed, or had ended for want of work
                self.close()
            except BaseException:
                self.close()
                raise
        return {"error": f"the process that forks the runs died {TRIES} times (out of memory?)"}

    def _asked(self, request, wanted):
        if self.process is None or self.process.poll() is not None:
            self.close()  # a process that is gone has left its folder
            self._start(wanted)
        self._send(request)
        return self._answer(wanted)

    def _start(self, wanted):
        environment = os.environ | dict.fromkeys(_THREADS, "1") | {"MPLBACKEND": "agg"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mmlib._sweep.parent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
            start_new_session=True,  # Ctrl-C of the terminal is for who started the sweep
        )
        self._send(self.program)
        self.folder = self._answer(wanted)["folder"]

    def _send(self, message):
        text = memoryview((json.dumps(message) + "\n").encode())
        while text:
            text = text[self.process.stdin.write(text) :]

    def _answer(self, wanted):
        file, text = self.process.stdout.fileno(), b""
        while not text.endswith(b"\n"):
            if not select.select([file], [], [], 1.0)[0]:
                if wanted is not None and not wanted():
                    raise Abandoned
                continue
            chunk = os.read(file, 65536)
            if not chunk:
                raise EOFError
            text += chunk
        return json.loads(text)

    def close(self) -> None:
        """End the parent process, and with it a run."""
        process, self.process = self.process, None
        if process is None:
            return
        process.stdin.close()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:  # it is still importing: there is no run to end
            process.kill()
            process.wait()
        process.stdout.close()
        if self.folder is not None:  # a process that was killed has left it
            shutil.rmtree(self.folder, ignore_errors=True)

    def __del__(self):
        self.close()


class Papermill:
    """Runs one after another in kernels, where the system has no fork."""

    def __init__(self, program: dict[str, Any]):
        self.program = program

    def run(self, values, timeout=None, wanted=None) -> dict[str, Any]:
        """As `Engine.run`; the time-out is that of a cell."""
        import nbformat
        import papermill

        from mmlib import chapter

        cells = [nbformat.v4.new_code_cell(text) for text in self.program["cells"]]
        if self.program["place"] >= 0:
            cells[self.program["place"]].metadata["tags"] = ["parameters"]
        kernel = {"name": "python3", "display_name": "python3", "language": "python"}
        with tempfile.TemporaryDirectory(prefix="mmlib-sweep-") as folder:
            file = os.path.join(folder, "chapter.ipynb")
            nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), file)
            try:
                executed = papermill.execute_notebook(
                    file, None, values, progress_bar=False, execution_timeout=None if timeout is None else int(timeout)
                )
            except papermill.PapermillExecutionError as error:
                where = "" if error.ename == "BadParameter" else f"cell {error.exec_count} failed with {error.ename}: "
                return {"error": f"{where}{error.evalue}"}
            except TimeoutError:
                return {"error": f"longer than {timeout:g} s"}
            except RuntimeError as error:  # the kernel died
                return {"error": f"the run's process died: {error}"}
        return {"results": chapter.read_results(executed)}

    def close(self) -> None:
        """Nothing stays between runs."""


def opened(program: dict[str, Any]) -> Engine | Papermill:
    """What runs a chapter on this system."""
    return Engine(program) if FORKS else Papermill(program)


def close_all() -> None:
    """End the parents of this process."""
    for engine in list(_OPEN):
        engine.close()
