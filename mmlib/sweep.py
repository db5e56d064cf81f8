"""A chapter run at every point of a grid of its parameters, on one core or on a cluster; one table of its results.

    from mmlib import sweep

    table = sweep.run("glft", {"gamma": [0.05, 0.1, 0.2], "sigma": [1.0, 2.0], "steps": 50})
    table = sweep.run("glft", {"gamma": np.geomspace(0.01, 1, 20)}, path="glft.parquet", workers=2)

A list is swept, anything else is fixed. Each run is a process of its own, forked from one that has loaded what the
chapter imports: a run that fails, dies or lasts too long is a row with an `error`, and the next one runs as if nothing
had been. Results are those of `mmlib run`, to the last stored digit.

With a path the table is written there, as Parquet, with what it was made from in its metadata; until it is, finished
runs are in a journal beside it. The same call after any kill does the rest, and writes the same bytes.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mmlib
from mmlib import _notebooks, checks, optional
from mmlib._notebooks import Refused
from mmlib._sweep import engine, farm, grid
from mmlib._sweep.journal import Journal
from mmlib.observe import observed

if TYPE_CHECKING:
    from pandas import DataFrame


@observed
def run(
    chapter: str,
    values: Mapping[str, Any],
    *,
    path: str | os.PathLike | None = None,
    paired: bool = False,
    timeout: float | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> "DataFrame":
    """Results of a chapter over a grid.

    Parameters
    ----------
    chapter : str
        As `mmlib run` takes it: ``glft``, ``market_making/glft`` or a notebook's path.
    values : mapping of str to list, array or one value
        Parameters by name. Lists and arrays are crossed, the last changing first; one value is the same in every run. A
        parameter that is a list itself is swept by a list of lists.
    path : path, optional
        Where to write the table, a name that ends in ``.parquet``; the journal is beside it, with ``.journal`` added. A
        table of the same sweep that is there already is read and returned.
    paired : bool
        Pair the lists, which then have one length, instead of crossing them.
    timeout : float, optional
        Seconds after which a run is killed; its row's error says so.
    workers : int, optional
        Processes of this machine; by default one a core, and one in all for fewer than 16 runs. More than one need
        Dask, the extra ``scale``.
    scheduler : str, optional
        Address of a Dask scheduler to use instead, whose workers have this mmlib.
    progress : bool
        Show a bar, on a terminal only.

    Returns
    -------
    DataFrame
        A row a run in the grid's order: swept parameters, the chapter's results, `error` ("" where it succeeded).

    Raises
    ------
    ValueError
        Before any run: an unknown parameter, a value of the wrong type, more than a million runs, a journal or a
        table of another sweep, a worker with another mmlib, a scheduler that does not answer.
    OSError
        If a file cannot be written or the scheduler has gone; what is in the journal stays.
    """
    timeout = None if timeout is None else checks.positive("timeout", timeout, "seconds a run")
    if workers is not None:
        workers = checks.integer("workers", workers, least=1, meaning="processes")
    name, file = _notebooks.find(chapter)
    notebook = _notebooks.read(file)
    chosen = grid.checked(name, _notebooks.parameters(file, notebook), values, paired)
    program = engine.program(notebook)
    about = _about(name, program, chosen, timeout)
    target = None if path is None else _target(path)
    if not engine.FORKS:
        warnings.warn("this system has no fork: runs go through papermill, which takes seconds each", stacklevel=2)
    from mmlib._sweep import table as tables

    if target is not None:
        optional.load("pyarrow", "scale", "Tables of sweeps")  # not after hours of runs
    if target is not None and target.exists():
        if tables.about(target)["sweep"] != about["sweep"]:
            raise Refused(f"{path} is the table of another sweep; name another output or delete it")
        Path(f"{target}.journal").unlink(missing_ok=True)
        return tables.read(target)
    with ExitStack() as stack:
        journal = None
        if target is not None:
            journal = stack.enter_context(Journal(Path(f"{target}.journal"), about["sweep"], len(chosen)))
        done = {} if journal is None else dict(journal.done)
        left = [(n, chosen.fixed | point) for n, point in enumerate(chosen.points()) if n not in done]
        arriving = stack.enter_context(closing(farm.answers(program, left, timeout, scheduler, workers)))
        for number, answer in _counted(arriving, done, len(chosen), name, progress):
            if journal is not None:
                journal.append(number, answer)
            done[number] = answer
        table = tables.frame(chosen, done)
        if target is not None:
            tables.write(target, table, about)
            Path(f"{target}.journal").unlink(missing_ok=True)
    return table


def _about(name: str, program: dict, chosen: grid.Grid, timeout: float | None) -> dict[str, Any]:
    """What a table's numbers depend on; `sweep` is the hash of it all."""
    about = {
        "chapter": name,
        "code": hashlib.sha256(json.dumps(program).encode()).hexdigest()[:16],
        "fixed": chosen.fixed,
        "mmlib": mmlib.__version__,
        "mmlib_code": engine.code(),
        "timeout": timeout,
    }
    whole = json.dumps([about, chosen.swept, chosen.paired]).encode()
    return about | {"sweep": hashlib.sha256(whole).hexdigest()[:16]}


def _target(path: str | os.PathLike) -> Path:
    """The file to write, where a link leads to."""
    if Path(path).suffix != ".parquet":
        raise Refused(f"path must end in .parquet; got {str(path)!r}")
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise Refused(f"path must be in a folder that exists; got {str(path)!r}")
    if target.is_dir():
        raise Refused(f"path must be a file; {str(path)!r} is a folder")
    return target


def _counted(arriving: Iterable, done: dict, total: int, name: str, progress: bool) -> Iterator:
    """Pass on what arrives, and count it on a bar, with the failures."""
    from tqdm import tqdm

    failed = sum("error" in answer for answer in done.values())
    with tqdm(total=total, initial=len(done), desc=name, unit="run", disable=None if progress else True) as bar:
        bar.set_postfix(failed=failed)
        for number, answer in arriving:
            yield number, answer
            failed += "error" in answer
            bar.update()
            bar.set_postfix(failed=failed, refresh=False)
