"""CP-SAT in a process of its own: `python -m mmlib.market_making._cp_sat` answers requests until its input ends.

OR-Tools brings a HiGHS library, highspy another, and one process cannot load both. So `Solver` starts a child that
alone loads OR-Tools, writes a request to its input (a dictionary of plain numbers and arrays, pickled) and reads the
answer from its output. The child ends when its input does: when the `with` block is left, or its parent dies, however
it dies, even in the middle of a search. Ctrl-C goes to the parent alone, which ends the child on its way out.
"""

import itertools
import os
import pickle
import queue
import subprocess
import sys
import threading

import numpy as np

from mmlib import optional


class Solver:
    """The child process, for the length of a `with` block; it is started by the first request."""

    def __init__(self):
        self._child = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._child is not None:
            self._child.kill()
            self._child.communicate()

    def maximize(self, **request):
        """The answer of `maximize` in the child.

        Raises
        ------
        ImportError
            If OR-Tools is not installed.
        RuntimeError
            If the child died.
        """
        if self._child is None:
            paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": paths},  # modules are found where the parent finds them
                process_group=0,  # no Ctrl-C from the terminal
            )
        try:
            pickle.dump(request, self._child.stdin)
            self._child.stdin.flush()
            answer = pickle.load(self._child.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            code = self._child.wait()
            raise RuntimeError(f"CP-SAT's process ended before it answered (exit code {code})") from None
        if isinstance(answer, ImportError):
            raise answer
        return answer


def maximize(cp_model, allowed, monotone, cuts, start, floor, ceiling, effort, seed):
    """The largest integer G under cuts G <= g + sum_q c_q(x_q) and the rules, one pair x_q at each level.

    Parameters
    ----------
    cp_model : module
        ``ortools.sat.python.cp_model``.
    allowed : ndarray of bool, shape (m, n, n)
        Pairs (bid, ask) of alternatives that may be chosen at each level.
    monotone : bool
        Whether the bid's index may not fall and the ask's not rise from level to level.
    cuts : list of (float, ndarray of shape (m, n, n))
        g and c; whole numbers where a pair is allowed.
    start : (ndarray, ndarray)
        A hint: the pairs' indices.
    floor, ceiling : int
        Bounds of G.
    effort : float
        Limit of deterministic time.
    seed : int

    Returns
    -------
    status : {"optimal", "feasible", "infeasible", "unknown"}
    table : (list of int, list of int) or None
    bound : float
        No choice has a larger G.
    spent : float
        Deterministic time.
    """
    model = cp_model.CpModel()
    picks = []
    for level in allowed:
        picks.append({(int(b), int(a)): model.new_bool_var("") for b, a in np.argwhere(level)})
        model.add_exactly_one(picks[-1].values())
    if monotone:
        for below, above in itertools.pairwise(picks):
            for side, sign in ((0, 1), (1, -1)):
                low, high = (
                    cp_model.LinearExpr.weighted_sum(list(level.values()), [sign * pair[side] for pair in level])
                    for level in (below, above)
                )
                model.add(high >= low)
    most = model.new_int_var(floor, ceiling, "most")
    alternatives = [x for level in picks for x in level.values()]
    for g, c in cuts:
        worth = [int(c[q][pair]) for q, level in enumerate(picks) for pair in level]
        model.add(most <= int(g) + cp_model.LinearExpr.weighted_sum(alternatives, worth))
    model.maximize(most)
    for q, level in enumerate(picks):
        for pair, x in level.items():
            model.add_hint(x, pair == (start[0][q], start[1][q]))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed
    solver.parameters.cp_model_probing_level = 0  # thousands of alternatives in a few constraints: nothing to discover
    solver.parameters.symmetry_level = 0
    solver.parameters.max_deterministic_time = effort
    status = solver.solve(model)
    spent = solver.response_proto.deterministic_time
    names = {cp_model.OPTIMAL: "optimal", cp_model.FEASIBLE: "feasible", cp_model.INFEASIBLE: "infeasible"}
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return names.get(status, "unknown"), None, float(ceiling), spent
    pairs = [next(pair for pair, x in level.items() if solver.boolean_value(x)) for level in picks]
    bid, ask = (list(side) for side in zip(*pairs, strict=True))
    return names[status], (bid, ask), solver.best_objective_bound, spent


def main():
    """Answer requests from the standard input until it ends, then leave at once, also from within a search."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    requests = queue.SimpleQueue()

    def read():
        try:
            while True:
                requests.put(pickle.load(sys.stdin.buffer))
        finally:
            os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        request = requests.get()
        try:
            cp_model = optional.load("ortools.sat.python.cp_model", "csp", "Rules that couple inventories (ticks)")
            answer = maximize(cp_model, **request)
        except ImportError as error:
            answer = error
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
