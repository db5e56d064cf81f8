"""Mutants of a module: small changes of meaning, and whether the module's tests see them. Not part of `make test`.

    python tests/mutate.py mmlib/risk.py [--tests FILE …] [--sample 60] [--seed 0] [--jobs 1] [--lines 9-80]

Each mutant changes one thing: a sign, an operator, a comparison, a constant (integers by one, floats by one per cent),
a condition, min for max, a term left out, a statement left out. It is written into a copy of the tree, never into the
tree itself, and the tests run there until the first one fails. A mutant that they pass has survived: either it means
the same (then say why) or a test is missing. A run that takes three times as long as the tests of the unchanged module,
and a minute more, is ended and counts as seen. Docstrings, annotations, decorators and the words of errors stay.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", type=Path)
    parser.add_argument("--tests", type=Path, nargs="+")
    parser.add_argument("--sample", type=int, help="this many mutants, drawn at random; by default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="copies of the tree that run tests at a time")
    parser.add_argument("--lines", help="only these lines of the module, e.g. 10-80")
    arguments = parser.parse_args()
    module = arguments.module.resolve().relative_to(ROOT)
    tests = arguments.tests or tests_of(module)
    lines = tuple(map(int, arguments.lines.split("-"))) if arguments.lines else None
    source = (ROOT / module).read_text(encoding="utf-8")
    compiled = "njit" in source
    found = list(mutants(source, lines))
    chosen = found
    if arguments.sample and arguments.sample < len(found):
        chosen = sorted(random.Random(arguments.seed).sample(found, arguments.sample))
    with tempfile.TemporaryDirectory() as home:
        folders = Queue()
        for i in range(arguments.jobs):
            folders.put(copied(Path(home) / str(i)))
        first = folders.get()
        start = time.monotonic()
        right, said = passes(first, tests, compiled, 1800)
        taken = time.monotonic() - start
        folders.put(first)
        if not right:
            raise SystemExit(f"the tests fail on the module as it is:\n{said}")
        print(f"{module}: {len(chosen)} of {len(found)} mutants, tests {taken:.0f} s", flush=True)

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

        with ThreadPoolExecutor(arguments.jobs) as pool:
            alive = sum(pool.map(survives, chosen))
    killed = len(chosen) - alive
    print(f"score {killed}/{len(chosen)} = {100 * killed / max(len(chosen), 1):.0f} % of the mutants are seen")


if __name__ == "__main__":
    main()
