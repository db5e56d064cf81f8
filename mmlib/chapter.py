"""What every chapter does the same way: refuse bad parameters in one line, and report its results.

    with chapter.validating():
        market = Market(sigma=sigma, A=A, k=k)
        checks.positive("gamma", gamma, "risk aversion, 1/currency")
    …
    chapter.results(certainty_equivalent=value, spread=spread)

The results are shown as a table and stored in the output, where `mmlib run` and a sweep find them.
"""

from contextlib import contextmanager

import numpy as np

#: Key of the stored results in an output's metadata.
RESULTS = "mmlib_results"


class BadParameter(ValueError):
    """A chapter's parameter is outside its range; shown as one line, without a traceback."""

    def _render_traceback_(self):
        return [f"{type(self).__name__}: {self}"]


@contextmanager
def validating():
    """Turn a ValueError of the block into a `BadParameter`, which ends a run with one line instead of a traceback."""
    try:
        yield
    except ValueError as error:
        raise BadParameter(str(error)) from None


def results(**values):
    """Show a chapter's results as a table and store them in the output.

    Parameters
    ----------
    **values : float, int, bool or str
        The results by name. Numbers are shown to 4 significant digits and stored to 8, so that outputs are the same on
        every processor.

    Raises
    ------
    ValueError
        If there is no result, or one is neither a number nor a string.
    """
    from IPython.display import display
    from pandas import DataFrame

    if not values:
        raise ValueError("results needs at least one name=value; got none")
    stored = {name: _plain(name, value) for name, value in values.items()}
    table = DataFrame({"result": list(stored), "value": [shown(value) for value in stored.values()]})
    display(table.set_index("result"), metadata={RESULTS: stored})


def read_results(notebook):
    """Results stored in an executed notebook (an nbformat node) as a dict by name; {} where there are none."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found.update(output.get("metadata", {}).get(RESULTS, {}))
    return found


def shown(value):
    """`value` as text: numbers to 4 significant digits, whole numbers and strings as they are."""
    if isinstance(value, float):
        text = f"{value:.4g}"
        return f"{float(text):,.0f}" if 1e4 <= abs(value) < 1e15 else text
    return str(value)


def _plain(name, value):
    value = value.item() if isinstance(value, np.generic | np.ndarray) and np.ndim(value) == 0 else value
    if isinstance(value, float):
        return float(f"{value:.8g}")
    if isinstance(value, bool | int | str):
        return value
    raise ValueError(f"{name} must be a number or a string (a result); got {value!r}")
