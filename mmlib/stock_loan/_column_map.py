"""`columns.json` beside a desk's export: what its files and columns are called, and how it writes numbers and dates."""

import json
import re
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pandas as pd

from mmlib import textfiles
from mmlib.stock_loan._book import TableError

FILE = "columns.json"
FEE_UNITS = {"bp": 0, "percent": 2}  # powers of ten to basis points
_KEYS = ("files", "columns", "ignore", "fee_unit", "date_format", "thousands", "decimal", "delimiter", "encoding",
         "last_line_end")  # fmt: skip
_ENCODINGS = ("utf-8", "latin-1", "cp1252")


@dataclass(frozen=True)
class ColumnMap:
    """How an export is written; the defaults are the documented form. `declared` says which were given."""

    files: dict = field(default_factory=dict)
    columns: dict = field(default_factory=dict)
    ignore: dict = field(default_factory=dict)
    fee_unit: str = "bp"
    date_format: str | None = None
    thousands: str = ""
    decimal: str = "."
    delimiter: str = ","
    encoding: str = "utf-8"
    last_line_end: bool = True
    declared: frozenset = frozenset()

    def number(self, text: pd.Series, fee: bool) -> tuple[pd.Series, pd.Series]:
        """Numbers as the map writes them, in plain digits and fees in bp; and where a text is no such number."""
        mark, point = re.escape(self.thousands), re.escape(self.decimal)
        groups = rf"\d{{1,3}}(?:{mark}\d{{3}})+|" if mark else ""
        form = rf"-?(?:{groups}\d+)(?:{point}\d*)?"
        bad = (text != "") & ~text.str.fullmatch(form)
        plain = text.str.replace(self.thousands, "", regex=False) if mark else text
        plain = plain.str.replace(self.decimal, ".", regex=False)
        if fee and FEE_UNITS[self.fee_unit]:
            shift = FEE_UNITS[self.fee_unit]  # in decimals: 0.36 % is 36 bp and nothing beside it
            plain = plain.mask(~bad & (text != ""), plain.map(lambda t: _shifted(t, shift)))
        return plain, bad

    def date(self, text: pd.Series) -> tuple[pd.Series, pd.Series]:
        """Dates as YYYY-MM-DD, and where a text is not of the map's form; zeros in front may be left out."""
        if self.date_format is None:
            return text, pd.Series(False, index=text.index)
        parsed = pd.to_datetime(text, format=self.date_format, errors="coerce")
        again = parsed.dt.strftime(self.date_format).fillna("")
        bare = [part.str.replace(r"(?<![0-9])0+(?=[0-9])", "", regex=True) for part in (again, text)]
        joined = re.search("%[a-zA-Z]%", self.date_format) is not None
        bad = (again != text) if joined else (bare[0] != bare[1])
        return parsed.dt.strftime("%Y-%m-%d").fillna(text), bad | parsed.isna()


def read(folder: Path, known: dict) -> ColumnMap:
    """The map in `folder`, or the documented form where there is none.

    Parameters
    ----------
    folder : Path
    known : dict
        File -> the documented columns that may be mapped.

    Raises
    ------
    TableError
        If the file is no JSON object, or has a key, file, column or value that means nothing here.
    """
    if not (folder / FILE).is_file():
        return ColumnMap()
    text = textfiles.text(folder / FILE, error=TableError)
    try:
        given = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise TableError(f"{FILE}: line {error.lineno} must be JSON; got {error.msg}") from None
    except RecursionError:
        raise TableError(f"{FILE} must be one object; got brackets without end") from None
    if not isinstance(given, dict):
        raise TableError(f"{FILE} must be one object; got {given!r}")
    _one_of("a key", given, _KEYS)
    for key in ("files", "columns", "ignore"):
        if not isinstance(given.get(key, {}), dict):
            raise TableError(f"{FILE}: {key} must be an object; got {given[key]!r}")
        _one_of(f"a file of {key}", given.get(key, {}), known)
    for file, names in given.get("columns", {}).items():
        if not isinstance(names, dict) or not all(isinstance(n, str) or n is None for n in names.values()):
            raise TableError(f"{FILE}: columns of {file} must be an object of names; got {names!r}")
        _one_of(f"a column of {file}", names, known[file])
        used = [names.get(column, column) for column in known[file]]
        if repeated := sorted({n for n in used if n is not None and used.count(n) > 1}):
            raise TableError(f"{FILE}: a column of {file} must be used once; got {', '.join(repeated)} again")
    for file, names in given.get("ignore", {}).items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TableError(f"{FILE}: ignore of {file} must be a list of names; got {names!r}")
    for file, name in given.get("files", {}).items():
        if not isinstance(name, str) or Path(name).name != name or not name:
            raise TableError(f"{FILE}: the file of {file} must be a name in the folder; got {name!r}")
    options = {"fee_unit": tuple(FEE_UNITS), "thousands": ("", ",", ".", " ", "'", "\u00a0", "\u202f", "_"),
               "decimal": (".", ","), "delimiter": (",", ";", "\t", "|"), "encoding": _ENCODINGS,
               "last_line_end": (True, False)}  # fmt: skip
    for key, allowed in options.items():
        if key in given and not any(given[key] is a or (isinstance(a, str) and given[key] == a) for a in allowed):
            raise TableError(f"{FILE}: {key} must be one of {', '.join(map(repr, allowed))}; got {given[key]!r}")
    if given.get("thousands", "") == given.get("decimal", "."):
        raise TableError(f"{FILE}: thousands must not be the decimal mark; got {given['thousands']!r} for both")
    form = given.get("date_format", "%Y-%m-%d")
    if not isinstance(form, str) or not re.fullmatch(r"[^%]*(%[YymdbB][^%]*){3}", form) or not _whole_date(form):
        raise TableError(f"{FILE}: date_format must have a year, a month and a day, as %d/%m/%Y; got {form!r}")
    return ColumnMap(**given, declared=frozenset(given))


def _shifted(text, places):
    try:
        return format(Decimal(text).scaleb(places), "f")
    except ArithmeticError:  # no number: refused where the caller looks at `bad`
        return text


def _whole_date(form):
    parts = set(re.findall("%(.)", form))
    return len(parts & set("Yy")) == len(parts & set("mbB")) == len(parts & {"d"}) == 1


def _one_of(what, given, known):
    if wrong := [key for key in given if key not in known]:
        raise TableError(f"{FILE}: {what} must be one of {', '.join(known)}; got {', '.join(map(repr, wrong))}")


def _once(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise TableError(f"{FILE}: a key must be given once; got {[key for key, _ in pairs]}")
    return found
