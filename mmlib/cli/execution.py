"""A chapter executed in a kernel of its own, with no more loaded than that takes.

nbclient runs the cells, as it does below papermill, whose command and API give the same outputs; what papermill loads
beside it, to fetch notebooks from remote stores, takes as long to import as nbclient itself. A kernel of this Python
starts without the debugger that ipykernel would load for a front-end to attach to.
"""

import datetime
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmlib.cli.ending import refuse

#: Starts ipykernel as `-m ipykernel_launcher` does, but for its debugger, a third of what a kernel loads. The folder it
#: runs in is searched for modules again once it has started. Of what it loads nothing is garbage, nor looked at again.
LAUNCH = (
    "import gc, sys; gc.disable(); sys.path[:] = filter(None, sys.path);"
    " sys.modules['debugpy'] = None; import ipykernel.debugger; del sys.modules['debugpy'];"
    " from ipykernel.kernelapp import launch_new_instance; gc.freeze(); gc.enable(); launch_new_instance()"
)
#: What jsonschema checks formats with where it is installed; no field of a notebook has one of them.
FORMATS = (
    "fqdn",
    "idna",
    "isoduration",
    "jsonpointer",
    "rfc3339_validator",
    "rfc3986_validator",
    "rfc3987",
    "rfc3987_syntax",
    "uri_template",
    "webcolors",
)


def execute(name: str, notebook: dict[str, Any], given: dict[str, Any]) -> Any:
    """The executed notebook, an nbformat node; ends the command if it cannot be executed.

    Parameters
    ----------
    name : str
        Of the chapter, for what is said of it.
    notebook : dict
        Its content, as `notebooks.read` returns it.
    given : dict
        Values by parameter, of plain literals: a cell after the parameters sets them.
    """
    with not_imported(*FORMATS, "pyarrow"):
        import nbformat
        from nbclient.exceptions import CellExecutionError
        from tqdm import tqdm
    from jupyter_client.kernelspec import NoSuchKernel

    kernel = notebook["metadata"].get("kernelspec", {}).get("name", "python3")
    node = nbformat.v4.upgrade(nbformat.reads(json.dumps(notebook), as_version=4))
    _inject(node.cells, given)
    client = _client(node, kernel)
    try:
        with client.setup_kernel():  # not its `execute`, which takes the signals to itself
            bar = tqdm(node.cells, desc=name, unit="cell", disable=None, leave=False)
            for index, cell in enumerate(bar):
                client.execute_cell(cell, index)
            client.set_widgets_metadata()
        return node
    except CellExecutionError as error:
        bar.close()
        where = f"cell {cell.execution_count} failed with {error.ename}: "
        refuse(f"{name}: {'' if error.ename == 'BadParameter' else where}{error.evalue}", code=1)
    except NoSuchKernel:
        refuse(
            f"{name} needs the Jupyter kernel {kernel!r}, which is not installed; `pip install ipykernel` has python3"
        )
    except RuntimeError as error:  # the kernel died
        refuse(f"{name}: {error} (out of memory?)", code=1)
    except OSError as error:  # its files cannot be written
        refuse(f"{name}: the kernel cannot be started: {error.strerror or error}", code=1)


def slowest(executed: Any, count: int = 5) -> list[tuple[float, int, str]]:
    """Seconds, number and first line of the `count` cells that took longest, by the kernel's own messages."""
    found = []
    for cell in executed.cells:
        timing = cell.metadata.get("execution", {})
        ends = [timing.get(f"iopub.status.{state}") for state in ("busy", "idle")]
        if all(ends):
            begun, done = map(datetime.datetime.fromisoformat, ends)
            lines = [line for line in cell.source.splitlines() if line.strip()]
            found.append(((done - begun).total_seconds(), cell.execution_count, lines[0]))
    return sorted(found, reverse=True)[:count]


@contextmanager
def not_imported(*packages: str) -> Iterator[None]:
    """Packages that are not there for the block, since what it imports does without them; those that are stay."""
    absent: dict[str, Any] = {package: None for package in packages if package not in sys.modules}
    sys.modules.update(absent)
    try:
        yield
    finally:
        for package in absent:
            sys.modules.pop(package, None)


def _inject(cells: list[Any], given: dict[str, Any]) -> None:
    """Put the cell that sets the given values after the parameters, in place of one of an earlier run."""
    from nbformat.v4 import new_code_cell

    tags = [cell.metadata.get("tags", []) for cell in cells]
    if not given:
        return
    lines = [f"{name} = {_literal(value)}" for name, value in given.items()]
    cell = new_code_cell("\n".join(["# Parameters", *lines]), metadata={"tags": ["injected-parameters"]})
    before = next((i for i, tag in enumerate(tags) if "injected-parameters" in tag), None)
    if before is not None:
        cells[before] = cell
    else:
        cells.insert(1 + next(i for i, tag in enumerate(tags) if "parameters" in tag), cell)


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return repr(value) if not isinstance(value, float) or abs(value) < float("inf") else f'float("{value}")'


def _client(node: Any, kernel: str) -> Any:
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.paths import jupyter_path
    from nbclient import NotebookClient

    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # or a kernel with its debugger prints a warning

    class Manager(AsyncKernelManager):
        def __init__(self, **settings: Any) -> None:
            folders = KernelSpecManager(kernel_dirs=jupyter_path("kernels"))  # or IPython is loaded for one more of old
            super().__init__(kernel_spec_manager=folders, **settings)

        def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
            command = super().format_kernel_cmd(extra_arguments)
            same = command[0] == sys.executable and command[1:3] == ["-m", "ipykernel_launcher"]
            return [command[0], "-c", LAUNCH, *command[3:]] if same else command

    return NotebookClient(
        node,
        kernel_name=kernel,
        kernel_manager_class=Manager,
        timeout=None,
        coalesce_streams=True,  # or what is printed is cut into outputs by the clock
        extra_arguments=["--log-level=CRITICAL", "--HistoryManager.hist_file=:memory:"],
        log=_silent(),
    )


def _silent() -> Any:
    import logging

    log = logging.getLogger("mmlib.cli.kernel")
    log.setLevel(logging.CRITICAL)  # all it says is said here
    return log
