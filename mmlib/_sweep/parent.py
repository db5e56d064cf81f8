"""`python -m mmlib._sweep.parent`: a process that has loaded what a chapter imports, and forks one child a run.

In: a JSON line with the chapter's cells, then a JSON line a run, {"values": {…}, "timeout": seconds or null}.
Out: {"folder": its temporary one}, then {"results": {…}} or {"error": "…"} for each, in order.

Cells are run in children only: what one leaves behind (threads of OpenMP, caches, settings) would be in all later ones.
The parent imports, compiles one function and makes a table and a figure, so that no run pays for the first of them.
A child is killed with its group when its time is over or when nobody waits for it any more (the end of stdin); it kills
itself when this process is gone.
"""

import ast
import base64
import gc
import json
import os
import pickle
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
import types
from contextlib import suppress
from functools import cache
from importlib import import_module
from itertools import islice
from typing import Any

#: Seconds of the longest time-out, of decades: `select` refuses much more.
LONGEST = 1e9
#: Seconds without a run after which the process ends: its sweep has gone, and left it on a worker that stays.
IDLE = 20.0


class Program:
    """A chapter's code cells; `place` is that of the cell tagged `parameters`, -1 without one."""

    def __init__(self, cells: list[str], place: int):
        self.cells, self.place = cells, place
        self.imported: set[str] = set()
        self.tables = False
        self.loaded: list[tuple] = []
        self.functions: list[tuple] = []

    def preload(self) -> None:
        """Import what the cells import; what cannot be imported is an error of the runs, not of this process."""
        from IPython import display

        from mmlib import chapter

        display.display = lambda *objects, **options: None  # nobody looks
        chapter.results(any=0)  # a first table loads much of pandas, and a first figure much of matplotlib
        for place, cell in enumerate(self.cells):
            with suppress(Exception):
                _code(cell, self._number(place))
                for node in ast.walk(ast.parse(cell)):
                    if isinstance(node, ast.Import | ast.ImportFrom):
                        with suppress(Exception):
                            exec(compile(ast.Module([node], []), "<import>", "exec"), {})
        if plt := sys.modules.get("matplotlib.pyplot"):
            with suppress(Exception):
                plt.plot(0, label="any")
                plt.legend()
            plt.close("all")
        self._settle()

    def learn(self, modules: list[str]) -> None:
        """Import what a run imported within its functions: the next finds it there."""
        new = [name for name in modules if name not in self.imported]
        self.imported.update(new)
        for name in new:
            with suppress(Exception):
                import_module(name)
        if new:
            self._settle()

    def load(self, compiled: str) -> None:
        """Load what a run has compiled or found compiled on disk, as `compiled` names it: none of it is run."""
        new = pickle.loads(base64.b64decode(compiled))
        self.loaded += new
        for module, name, types_of_arguments in new:
            with suppress(Exception):
                getattr(sys.modules[module], name).compile(types_of_arguments)
        if new:
            self._settle()

    def compiled(self, modules: list[str]) -> str:
        """What numba has compiled here and `load` has not: module, name and types of each function, as text."""
        found = [
            (module, name, signature.args)
            for module, name, function in self.functions + _functions(modules)
            for signature in function.nopython_signatures
        ]
        return base64.b64encode(pickle.dumps([each for each in found if each not in self.loaded])).decode()

    def _settle(self) -> None:
        """Build numba's tables, and keep what is there out of the children's garbage collection."""
        self.functions = _functions(list(sys.modules))
        if not self.tables and (numba := sys.modules.get("numba")):
            numba.njit(lambda x: x + 1)(1.0)  # serial: no thread starts here
            self.tables = True
        gc.collect()
        gc.freeze()

    def run(self, values: dict[str, Any]) -> dict[str, Any]:
        """Results of the cells with `values` in the place of the parameters', or the error: in a child."""
        from IPython.display import display

        from mmlib import chapter

        results: dict[str, Any] = {}
        chapter.LISTENERS.append(results.update)
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        module.__dict__["display"] = display
        place = 0
        try:
            if self.place < 0:
                module.__dict__.update(values)
            for place, cell in enumerate(self.cells):
                exec(_code(cell, self._number(place)), module.__dict__)
                if place == self.place:
                    module.__dict__.update(values)
                if plt := sys.modules.get("matplotlib.pyplot"):
                    plt.close("all")  # as a notebook does after each cell; figures are made and never drawn
        except chapter.BadParameter as error:
            return {"error": _text(error) or type(error).__name__}  # "" is that of a run that succeeded
        except BaseException as error:  # SystemExit too: whatever ends a cell is the run's error
            what = f"failed with {type(error).__name__}: {_text(error)}".rstrip(": ")
            return {"error": f"cell {self._number(place)} {what}"}
        return {"results": {k: _text(v) if isinstance(v, str) else v for k, v in results.items()}}

    def _number(self, place: int) -> int:
        """A cell's number as papermill counts, which writes the values into a cell of their own."""
        return place + 1 + (0 <= self.place < place)


@cache
def _code(cell: str, number: int) -> types.CodeType:
    """A cell compiled, once for all runs; an error is each run's."""
    return compile(cell, f"<cell {number}>", "exec")


def _text(value: object) -> str:
    """What an exception or a result says, as a table can hold it: half a character of UTF-16 is written out."""
    return str(value).encode(errors="backslashreplace").decode()


def serve(program: Program, requests: int, answers: int, folder: str) -> None:
    """Answer the runs asked for on the file `requests`, one after another, until it ends; they write to `folder`."""
    alive, held = os.pipe()  # `held` is open in this process alone: a child that reads the end of `alive` is an orphan
    waiting = b""
    while True:
        while b"\n" not in waiting:
            if not select.select([requests], [], [], IDLE)[0]:
                return
            chunk = os.read(requests, 65536)
            if not chunk:
                return
            waiting += chunk
        line, _, waiting = waiting.partition(b"\n")
        asked = json.loads(line)
        answer = _forked(program, asked["values"], asked["timeout"], requests, alive, held, folder)
        if answer is None:
            return
        _write(answers, answer)


def _forked(program, values, timeout, requests, alive, held, folder) -> dict[str, Any] | None:
    """A run's answer; None if nobody waits for it any more."""
    scratch = os.path.join(folder, "run")
    os.mkdir(scratch)
    out, into = os.pipe()
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(program, values, out, into, alive, held, scratch)
    with suppress(OSError):  # the child does the same: who comes first does not matter
        os.setpgid(pid, pid)
    os.close(into)
    text, ended = b"", ""
    try:
        while not text.endswith(b"\n"):
            left = None if timeout is None else min(LONGEST, max(0.0, begun + timeout - time.monotonic()))
            ready = select.select([out, requests], [], [], left)[0]
            if out in ready:
                chunk = os.read(out, 65536)
                if not chunk:
                    break
                text += chunk
            elif requests in ready:
                return None
            else:
                ended = f"longer than {timeout:g} s"
                break
    finally:
        with suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        os.close(out)
        shutil.rmtree(scratch, ignore_errors=True)
    if ended:
        return {"error": ended}
    if not text.endswith(b"\n"):
        return {"error": _death(status)}
    answer = json.loads(text)
    program.learn(answer.pop("modules"))
    program.load(answer.pop("compiled"))
    return answer


def _death(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        hint = " (out of memory?)" if number == signal.SIGKILL else ""
        return f"the run's process died of {signal.Signals(number).name}{hint}"
    return f"the run's process ended itself with code {os.WEXITSTATUS(status)}"


def _functions(modules: list[str]) -> list[tuple]:
    """Module, name and function of each that numba compiles in these modules of mmlib; serial ones only.

    One that is parallel starts threads as it is loaded, which no fork survives.
    """
    found = []
    for module in [name for name in modules if name.startswith("mmlib.")]:
        for name, value in vars(sys.modules[module]).items():
            here = getattr(value, "__module__", "") == module and hasattr(value, "nopython_signatures")
            if here and not value.targetoptions.get("parallel"):
                found.append((module, name, value))
    return found


def _child(program, values, out, into, alive, held, scratch):
    """Run the cells and end: nothing of this process is cleaned up, since all of it is the parent's."""
    code = 1
    try:
        with suppress(OSError):
            os.setpgid(0, 0)
        os.close(out)
        os.close(held)
        threading.Thread(target=_follow, args=(alive,), daemon=True).start()
        os.environ["TMPDIR"] = tempfile.tempdir = scratch
        before = len(sys.modules)
        answer = program.run(values)
        # the last of `sys.modules`: who looks at all of its names copies the memory that they are in
        new = [*islice(reversed(sys.modules), max(0, len(sys.modules) - before))][::-1]
        answer["modules"] = [name for name in new if _own(name)]
        answer["compiled"] = program.compiled(new)
        _write(into, answer)
        code = 0
    finally:
        os._exit(code)


def _follow(alive):
    """Die with the parent: the pipe ends when the last who could write to it has gone."""
    os.read(alive, 1)
    os.killpg(0, signal.SIGKILL)


def _own(name: str) -> bool:
    """Whether a module may be loaded before a fork: one that starts threads by itself may not."""
    return name.partition(".")[0] not in ("distributed", "torch", "polars", "kola") and sys.modules[name] is not None


def _write(file: int, answer: dict[str, Any]) -> None:
    text = (json.dumps(answer) + "\n").encode()
    while text:
        text = text[os.write(file, text) :]


def main() -> None:
    """Serve stdin and stdout, which what the chapter prints does not reach."""
    requests, answers = os.dup(0), os.dup(1)
    with open(os.devnull, "r+b", buffering=0) as nothing:
        for file in (0, 1, 2):
            os.dup2(nothing.fileno(), file)
    begun = b""
    while not begun.endswith(b"\n"):
        chunk = os.read(requests, 65536)
        if not chunk:
            return
        begun += chunk
    program = Program(**json.loads(begun))
    program.preload()
    folder = tempfile.mkdtemp(prefix="mmlib-sweep-")
    try:
        _write(answers, {"folder": folder})  # who reads this removes it where this process is killed
        serve(program, requests, answers, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
