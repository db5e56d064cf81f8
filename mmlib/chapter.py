"""What every chapter does the same way: refuse bad parameters in one line, and report its results.

    with chapter.validating():
        market = Market(sigma=sigma, A=A, k=k)
        checks.positive("gamma", gamma, "risk aversion, 1/currency")
    …
    chapter.results(certainty_equivalent=value, spread=spread)

The results are shown as a table and stored in the output, where `mmlib run` and a sweep find them. Tables of numbers:

    chapter.table({"quotes": names, "worth": worth, "worth of 10,000 paths": map(chapter.uncertain, means, errors)})
"""

import csv
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

#: Key of the stored results in an output's metadata.
RESULTS = "mmlib_results"
#: The ledger of certainty equivalents, written by `book/_ledger.py`.
LEDGER = Path(__file__).parents[1] / "data" / "ledger.csv"
#: Called with the results of a chapter, as they are stored: what runs it without a notebook listens here.
LISTENERS: list[Callable[[dict[str, Any]], object]] = []


class BadParameter(ValueError):
    """A chapter's parameter is outside its range; shown as one line, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


@contextmanager
def validating() -> Iterator[None]:
    """Turn a ValueError of the block into a `BadParameter`, which ends a run with one line instead of a traceback."""
    try:
        yield
    except ValueError as error:
        raise BadParameter(str(error)) from None


def results(**values: object) -> None:
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
    for listener in LISTENERS:
        listener(stored)
    table = DataFrame({"result": list(stored), "value": [shown(value) for value in stored.values()]})
    display(table.set_index("result"), metadata={RESULTS: stored})


def read_results(notebook: Any) -> dict[str, Any]:
    """Results stored in an executed notebook (an nbformat node) as a dict by name; {} where there are none."""
    found: dict[str, Any] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found.update(output.get("metadata", {}).get(RESULTS, {}))
    return found


def shown(value: object) -> str:
    """`value` as text: numbers to 4 significant digits, whole numbers and strings as they are."""
    if isinstance(value, float):
        text = f"{value:.4g}" if value else "0"  # zero has no sign in print
        return f"{float(text):,.0f}" if 1e4 <= abs(value) < 1e15 else text
    return str(value)


def table(columns: Mapping[str, Iterable], decimals: Mapping[str, int] | None = None) -> "DataFrame":
    """A table of texts, in which every column of numbers has one number of decimals.

    Parameters
    ----------
    columns : mapping of str to iterable
        Columns of one length by heading; the first labels the rows.
    decimals : mapping of str to int, optional
        Decimals of a column of floats; by default those that show its largest element to 4 significant digits.

    Returns
    -------
    DataFrame
        Floats as fixed-point text (zero without a sign, nan as "—"), integers with commas, anything else by `str`.

    Raises
    ------
    ValueError
        If there is no column, the lengths differ, or `decimals` names a column that is not there or not of floats.
    """
    from pandas import DataFrame

    lists = {name: list(values) for name, values in columns.items()}
    if len({len(values) for values in lists.values()}) != 1:
        raise ValueError(
            f"columns must be at least one, all of one length; got {dict((n, len(v)) for n, v in lists.items())}"
        )
    floats = {name for name, values in lists.items() if any(_is_float(v) for v in values)}
    if strangers := set(decimals or {}) - floats:
        raise ValueError(f"decimals must name columns of floats, of {sorted(floats)}; got {sorted(strangers)}")
    texts = {name: _column(values, (decimals or {}).get(name)) for name, values in lists.items()}
    return DataFrame(texts).set_index(next(iter(texts)))


def uncertain(value: float, error: float) -> str:
    """`value` with its standard error in its last digits: 67.548 ± 0.031 is 67.55(3).

    The error has one digit, two where the first would be 1.

    Raises
    ------
    ValueError
        If `value` is not finite or `error` not > 0 and finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"value must be finite; got {value!r}")
    if not 0 < error < math.inf:
        raise ValueError(f"error must be > 0 and finite (standard error of value); got {error!r}")
    rounded = f"{error:.0e}"  # 0.096 is 1e-01: round before asking with what digit it begins
    decimals = -int(rounded[2:]) + (rounded[0] == "1")
    if decimals > 0:
        return f"{value:z,.{decimals}f}({round(error * 10**decimals)})"
    unit = 10**-decimals
    return f"{round(value / unit) * unit:,}({round(error / unit) * unit})"


def ledger(here: str) -> None:
    """Show the book's running ledger: what each model's quotes are worth in one market, the rows of `here` marked.

    The market has sigma 2, A 140, k 1.5; a maker of risk aversion 0.1 trades until time 1 with limits of ±30, by tables
    of 200 rows. The limit is that of tables with ever more rows; the loss is against the best there can be.

    Parameters
    ----------
    here : str
        Chapter that shows it: its file's name without ending.

    Raises
    ------
    ValueError
        If `here` is empty, or the ledger is not there: it is data of the source tree, not of an installed package.
    """
    from IPython.display import display

    if not isinstance(here, str) or not here:
        raise ValueError(f"here must be the name of a chapter; got {here!r}")
    if not LEDGER.exists():
        raise ValueError(f"ledger needs data/ledger.csv of the project's source tree; there is no {LEDGER}")
    with LEDGER.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns: dict[str, list[str]] = {
        "model": [("→ " if row["chapter"] == here else "") + row["model"] for row in rows],
        "certainty equivalent": [f"{float(row['certainty_equivalent']):.2f}" for row in rows],
        "in the limit": [row["limit"] for row in rows],
        "loses, %": [row["loss_percent"] for row in rows],
        "chapter": [row["chapter"] for row in rows],
    }
    display(table(columns))


def _column(values: list, decimals: int | None) -> list[str]:
    sizes = [abs(float(v)) for v in values if _is_float(v) and math.isfinite(v)]
    if decimals is None:
        largest = float(f"{max(sizes, default=0.0):.4g}") or 1.0
        decimals = max(0, 3 - math.floor(math.log10(largest)))
    return [_text(value, decimals) for value in values]


def _is_float(value: Any) -> bool:
    """Whether it is a float of Python's or NumPy's, which need not be loaded to be asked about."""
    return isinstance(value, numbers.Real) and not isinstance(value, numbers.Rational)


def _text(value: Any, decimals: int) -> str:
    if _is_float(value):
        return "—" if math.isnan(value) else f"{value:z,.{decimals}f}"
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def _plain(name: str, value: Any) -> float | int | str:
    value = value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
    if isinstance(value, float):
        return float(f"{value:.8g}")
    if isinstance(value, bool | int | str):
        return value
    raise ValueError(f"{name} must be a number or a string (a result); got {value!r}")
