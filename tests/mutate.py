"""Mutants of a module: small changes of meaning, and whether the module's tests see them. Not part of `make test`.

    python tests/mutate.py mmlib/risk.py [--tests FILE …] [--sample 60] [--seed 0] [--jobs 1] [--lines 9-80]

Each mutant changes one thing: a sign, an operator, a comparison, a constant (integers by one, floats by one per cent),
a condition, min for max, a term left out, a statement left out. The tree itself is never written: a module of plain
Python is replaced in the memory of a forked process that has everything else imported already, and its quickest tests
run first, until one fails; a module of compiled kernels is replaced in a copy of the tree, and compiled anew. (A test
that starts a process of its own does not see what is replaced in memory: --copy for those.) A mutant that the tests
pass has survived: either it means the same (then say why) or a test is missing. A run that takes three times as long as
the tests of the unchanged module, and a minute more, is ended and counts as seen. Docstrings, annotations, decorators
and the words of errors stay.
"""

import argparse
import ast
import importlib
import importlib.abc
import importlib.util
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import pytest

os.environ["NUMBA_THREADING_LAYER"] = "workqueue"  # OpenMP ends a forked process that uses it
ROOT = Path(__file__).resolve().parents[1]

SIGNS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult}
SIGNS |= {
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.MatMult: ast.Mult,
}
SIGNS |= {ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitXor: ast.BitAnd}
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
}
COMPARISONS |= {ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,)}
COMPARISONS |= {ast.In: (ast.NotIn,), ast.NotIn: (ast.In,)}
NAMES = {"min": "max", "minimum": "maximum", "any": "all", "floor": "ceil", "left": "right"}
NAMES |= {new: old for old, new in NAMES.items()}


def changed(node):
    """What `node` may become: source text of each mutant of this node alone."""
    if isinstance(node, ast.BinOp):
        left, right = ast.unparse(node.left), ast.unparse(node.right)
        if type(node.op) in SIGNS:
            yield ast.unparse(ast.BinOp(node.left, SIGNS[type(node.op)](), node.right))
        if isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow):
            yield left
        if isinstance(node.op, ast.Add | ast.Mult):
            yield right
    elif isinstance(node, ast.UnaryOp):
        yield ast.unparse(node.operand)
    elif isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            for other in COMPARISONS[type(op)]:
                yield ast.unparse(
                    ast.Compare(node.left, [*node.ops[:i], other(), *node.ops[i + 1 :]], node.comparators)
                )
    elif isinstance(node, ast.BoolOp):
        yield ast.unparse(ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values))
        for i in range(len(node.values)):
            rest = node.values[:i] + node.values[i + 1 :]
            yield ast.unparse(ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0])
    elif isinstance(node, ast.IfExp):
        yield ast.unparse(ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse))
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield str(not node.value)
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield from (repr(node.value + 1), repr(node.value - 1))
    elif isinstance(node, ast.Constant) and type(node.value) is float:
        yield repr(node.value * 1.01 if node.value else 1.0)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in NAMES:
        yield NAMES[node.id]
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in NAMES:
        yield ast.unparse(ast.Attribute(node.value, NAMES[node.attr], node.ctx))
    elif isinstance(node, ast.Raise | ast.Expr | ast.AugAssign | ast.Break):
        yield "pass"


def nodes(tree):
    """Nodes that may be changed, in order; what only documents or words an error is left out."""
    if isinstance(tree, ast.Expr) and isinstance(tree.value, ast.Constant) and isinstance(tree.value.value, str):
        return
    if isinstance(tree, ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    yield tree
    if isinstance(tree, ast.Raise):
        return
    for name, field in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in field if isinstance(field, list) else [field]:
            if isinstance(child, ast.AST) and not (isinstance(child, ast.keyword) and child.arg == "meaning"):
                yield from nodes(child)


def mutants(source, lines=None):
    """(line, old text, new text, whole source) of every mutant of `source`, of the `lines` (first, last) alone."""
    rows = source.encode().splitlines(keepends=True)
    starts = [0]
    for row in rows:
        starts.append(starts[-1] + len(row))
    whole, seen = source.encode(), set()
    for node in nodes(ast.parse(source)):
        if not hasattr(node, "lineno") or (lines and not lines[0] <= node.lineno <= lines[1]):
            continue
        first = starts[node.lineno - 1] + node.col_offset
        last = starts[node.end_lineno - 1] + node.end_col_offset
        old = whole[first:last].decode()
        for text in changed(node):
            new = text if isinstance(node, ast.stmt) else f"({text})"
            mutant = (whole[:first] + new.encode() + whole[last:]).decode()
            if mutant not in seen and compiles(mutant):
                seen.add(mutant)
                yield node.lineno, " ".join(old.split()), " ".join(text.split()), mutant


def compiles(source):
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def tests_of(module):
    """The test file that mirrors `module`: mmlib/a/_b.py has tests/a/test_b.py."""
    inside = module.relative_to("mmlib")
    found = Path("tests") / inside.parent / f"test_{inside.stem.lstrip('_')}.py"
    if not (ROOT / found).exists():
        raise SystemExit(f"{module} has no {found}: name its tests with --tests (TESTS=… of make mutate)")
    return [found]


def copied(folder):
    """A copy of the tree's files in `folder`, without what git ignores."""
    names = subprocess.run(["git", "ls-files", "-zco", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    for name in names.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def passes(folder, tests, compiled, bound):
    """Whether the tests pass in the copy, within `bound` seconds; and the last lines that they print."""
    with tempfile.TemporaryDirectory() as fresh:  # numba does not see that a kernel called by a kernel has changed
        environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "Agg"}
        if compiled:
            environment["NUMBA_CACHE_DIR"] = fresh
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "--no-header",
            *map(str, tests),
        ]
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            said, _ = process.communicate(timeout=bound)
        except subprocess.TimeoutExpired:
            return False, f"ended after {bound:.0f} s"
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return process.returncode == 0, "\n".join(said.splitlines()[-8:])


class Replaced(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Gives one module another source text, whoever imports it."""

    def __init__(self, name, path, text):
        self.name, self.path, self.text = name, str(path), text

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_filename(self, fullname):
        return self.path

    def get_data(self, path):
        return self.text.encode()


class Quickest:
    """Runs the tests in the order of their `seconds` of processor, without those beyond `slowest`; measures them."""

    def __init__(self, seconds, slowest):
        self.seconds, self.slowest, self.measured, self.failed = seconds, slowest, {}, ""

    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if self.seconds.get(item.nodeid, 0.0) <= self.slowest]
        items.sort(key=lambda item: self.seconds.get(item.nodeid, 0.0))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        start = time.process_time()
        try:
            return (yield)
        finally:
            self.measured[item.nodeid] = time.process_time() - start

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        """Ends the slow ones in the first run; later runs leave them out: no signal comes in the midst of a mutant."""
        if self.seconds:
            return (yield)
        inside, ended = [True], []

        def end(*_):
            if inside:  # a signal may come in after the test
                ended.append(item.nodeid)
                pytest.skip("slow")

        signal.signal(signal.SIGPROF, end)
        signal.setitimer(signal.ITIMER_PROF, min(self.slowest * 1.1, 1e6))
        try:
            return (yield)
        except BaseException:
            if ended:  # hypothesis makes a failure of it
                pytest.skip("slow")
            raise
        finally:
            inside.clear()
            signal.setitimer(signal.ITIMER_PROF, 0)

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed = report.nodeid


def stays(name):
    """Whether an imported module may stay imported in the process of a mutant: it cannot import what is mutated."""
    return not name.startswith(("mmlib", "tests", "test_", "__")) or "._kernels" in name or "mmlib.numerics" in name


def run(pipe, module, text, tests, seconds, slowest):
    """In a forked process: the tests with `text` in the place of `module`; sends whether they pass, and what it saw."""
    for name in [name for name in sys.modules if not stays(name)]:
        if name.startswith("mmlib"):
            del sys.modules[name]
    name = ".".join(module.with_suffix("").parts)
    sys.meta_path.insert(0, Replaced(name, ROOT / module, text))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.chdir(ROOT)
    order = Quickest(seconds, slowest)
    code = pytest.main(
        ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--assert=plain", *map(str, tests)], plugins=[order]
    )
    pipe.send((int(code) == 0, order.failed or f"exit code {int(code)}", order.measured, list(sys.modules)))
    pipe.close()
    os._exit(0)


def forked(module, text, tests, seconds, slowest, bound):
    """Whether the tests pass with `text` as the module, the test that failed, their seconds and what they imported."""
    here, there = multiprocessing.Pipe(duplex=False)
    arguments = (there, module, text, tests, seconds, slowest)
    process = multiprocessing.get_context("fork").Process(target=run, args=arguments)
    process.start()
    there.close()
    try:
        return here.recv() if here.poll(bound) else (False, f"ended after {bound:.0f} s", {}, [])
    except EOFError:
        process.join()
        return False, f"the process died with {process.exitcode}", {}, []
    finally:
        process.kill()
        process.join()
        here.close()


def in_memory(module, source, tests, chosen, slowest):
    """Mutants among `chosen` that survive, each in a process forked from this one; the count of the survivors."""
    right, said, seconds, imported = forked(module, source, tests, {}, slowest, 1800)
    if not right:
        raise SystemExit(f"the tests fail on the module as it is: {said}")
    for name in imported:
        if stays(name):
            try:
                importlib.import_module(name)
            except Exception:  # what cannot be imported alone is imported by each mutant's own run
                continue
    start = time.monotonic()
    right, said, _, _ = forked(module, source, tests, seconds, slowest, 1800)
    taken = time.monotonic() - start
    if not right:  # a control: else everything would count as seen
        raise SystemExit(
            f"the tests pass on the module as it is, but not in a process that has it all imported: {said}"
        )
    quick = sum(s <= slowest for s in seconds.values())
    print(f"{module}: {len(chosen)} mutants, {quick} of {len(seconds)} tests are run: {taken:.0f} s", flush=True)
    alive = 0
    for line, old, new, text in chosen:
        survives, by, _, _ = forked(module, text, tests, seconds, slowest, 3 * taken + 60)
        alive += survives
        print(f"{'SURVIVES' if survives else 'seen'}  {module}:{line}  {old}  →  {new}  [{by}]", flush=True)
    return alive


def in_copies(module, source, tests, chosen, jobs):
    """The same, each in a copy of the tree and in a new process, `jobs` at a time."""
    compiled = "njit" in source
    with tempfile.TemporaryDirectory() as home:
        folders = Queue()
        for i in range(jobs):
            folders.put(copied(Path(home) / str(i)))
        first = folders.get()
        start = time.monotonic()
        right, said = passes(first, tests, compiled, 1800)
        taken = time.monotonic() - start
        folders.put(first)
        if not right:
            raise SystemExit(f"the tests fail on the module as it is:\n{said}")
        print(f"{module}: {len(chosen)} mutants, tests {taken:.0f} s", flush=True)

        def survives(mutant):
            line, old, new, text = mutant
            folder = folders.get()
            try:
                (folder / module).write_text(text, encoding="utf-8")
                alive, _ = passes(folder, tests, compiled, 3 * taken + 60)
            finally:
                folders.put(folder)
            if alive:
                print(f"survives  {module}:{line}  {old}  →  {new}", flush=True)
            return alive

        with ThreadPoolExecutor(jobs) as pool:
            alive = sum(pool.map(survives, chosen))
    return alive


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", type=Path)
    parser.add_argument("--tests", type=Path, nargs="+")
    parser.add_argument("--sample", type=int, help="this many mutants, drawn at random; by default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="copies of the tree that run tests at a time")
    parser.add_argument("--lines", help="only these lines of the module, e.g. 10-80")
    parser.add_argument("--slowest", type=float, default=1e9, help="leave out tests that take more seconds than this")
    parser.add_argument("--copy", action="store_true", help="a copy of the tree and a new process for each mutant")
    arguments = parser.parse_args()
    module = arguments.module.resolve().relative_to(ROOT)
    tests = arguments.tests or tests_of(module)
    lines = tuple(map(int, arguments.lines.split("-"))) if arguments.lines else None
    source = (ROOT / module).read_text(encoding="utf-8")
    found = list(mutants(source, lines))
    chosen = found
    if arguments.sample and arguments.sample < len(found):
        chosen = sorted(random.Random(arguments.seed).sample(found, arguments.sample))
    if arguments.copy or "njit" in source:
        alive = in_copies(module, source, tests, chosen, arguments.jobs)
    else:
        alive = in_memory(module, source, tests, chosen, arguments.slowest)
    killed = len(chosen) - alive
    print(f"score {killed}/{len(chosen)} = {100 * killed / max(len(chosen), 1):.0f} % of the mutants are seen")


if __name__ == "__main__":
    main()
