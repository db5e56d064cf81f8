"""Readers for the files regulators, clearing houses and brokers publish on short selling and stock loan.

Each checks what the file says about itself: its trailer's counts and totals, the identities between its columns, the
number of fields on every line, the encoding. A file that was cut short, or is not what it should be, ends in a
`tables.TableError` that names the file and the line; nothing is dropped. Files may be plain, `.gz` or a `.zip` of one.

    fails           SEC fails-to-deliver, cnsfailsYYYYMM{a,b}: a balance at each settlement date, not new fails
    short_volume    FINRA daily short sale volume, CNMSshvolYYYYMMDD.txt, or a history of several days
    shortable       Interactive Brokers' list of shortable stocks, usa.txt: what is available now, and at what fee
    availability    the same broker's record of one stock through a day
    occ_balances    The Options Clearing Corporation's stock-loan balances, CSV or the newer JSON

Rates come in per cent and are returned in basis points a year.
"""

import csv
import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from mmlib.stock_loan.tables import TableError

FAILS = ["SETTLEMENT DATE", "CUSIP", "SYMBOL", "QUANTITY (FAILS)", "DESCRIPTION", "PRICE"]
SHORT_VOLUME = ["Date", "Symbol", "ShortVolume", "ShortExemptVolume", "TotalVolume", "Market"]
SHORT_VOLUME_HISTORY = ["Date", "Symbol", "Short Volume", "Short Exempt Volume", "Total Volume", "Market Center"]
SHORTABLE = ["#SYM", "CUR", "NAME", "CON", "ISIN", "REBATERATE", "FEERATE", "AVAILABLE", "FIGI", ""]
AVAILABILITY = ["DT", "TM", "REBATE", "FEE", "AVAIL"]
OCC_CSV = ["Symbol", "Market Loan Loan Balance", "Hedge Loan Balance", "Date"]
OCC_JSON = ["businessDate", "symbol", "newMarketLoanCount", "totalMarketLoanVal", "newBilateralLoanCount",
            "totalBilateralLoanVal"]  # fmt: skip


def fails(path):
    """SEC fails-to-deliver: settlement_date, cusip, symbol, quantity (shares), description, price (NaN = not given).

    Raises
    ------
    TableError
        If a line has not six fields, a value is not a number, or the two trailers disagree with the rows.
    """
    name, lines = _lines(path, "latin-1")
    _header(name, 1, lines[0], FAILS)
    count = _trailer(name, lines, -2, "Trailer record count ")
    total = _trailer(name, lines, -1, "Trailer total quantity of shares ")
    date, cusip, symbol, quantity, description, price = _fields(name, lines[1:-2], 2, len(FAILS))
    price = [np.nan if p == "." else p for p in price]
    frame = pd.DataFrame({
        "settlement_date": _dates(name, date, 2, "%Y%m%d"), "cusip": cusip, "symbol": symbol,
        "quantity": _whole(name, quantity, 2, "QUANTITY (FAILS)"), "description": description,
        "price": _numbers(name, price, 2, "PRICE")})  # fmt: skip
    _agrees(name, "record count", count, len(frame))
    _agrees(name, "total quantity of shares", total, int(frame["quantity"].sum()))
    return frame


def short_volume(path):
    """FINRA short volume: trade_date, symbol, short_volume, short_exempt_volume, total_volume (shares), market.

    The file of a day ends in its number of rows, which is checked; a history over days has no trailer. Volumes are
    floats: recent files carry fractions of shares.

    Raises
    ------
    TableError
        Also if exempt > short or short > total on a line, or a symbol repeats on a day.
    """
    name, lines = _lines(path, "utf-8")
    history = lines[0].split("|") == SHORT_VOLUME_HISTORY
    _header(name, 1, lines[0], SHORT_VOLUME_HISTORY if history else SHORT_VOLUME)
    rows = lines[1:] if history else lines[1:-1]
    count = len(rows) if history else _trailer(name, lines, -1, "")
    date, symbol, short, exempt, total, market = _fields(name, rows, 2, len(SHORT_VOLUME))
    frame = pd.DataFrame({
        "trade_date": _dates(name, date, 2, "%Y%m%d"), "symbol": symbol,
        "short_volume": _numbers(name, short, 2, "ShortVolume"),
        "short_exempt_volume": _numbers(name, exempt, 2, "ShortExemptVolume"),
        "total_volume": _numbers(name, total, 2, "TotalVolume"), "market": market})  # fmt: skip
    _agrees(name, "number of rows", count, len(frame))
    if not history:
        _refuse(
            name, frame["trade_date"] != frame["trade_date"].iloc[:1].min(), date, 2, "Date", "one day's in this file"
        )
    _refuse(
        name, frame["short_exempt_volume"] > frame["short_volume"], exempt, 2, "ShortExemptVolume", "<= ShortVolume"
    )
    _refuse(name, frame["short_volume"] > frame["total_volume"], short, 2, "ShortVolume", "<= TotalVolume")
    _refuse(name, frame.duplicated(["trade_date", "symbol"]), symbol, 2, "Symbol", "listed once a day")
    return frame


def shortable(path, agreement=0.95):
    """Interactive Brokers' shortable list, one row a stock; a stock that is not listed is not available.

    Columns: as_of (time of the list), symbol, currency, name, contract, isin, rebate_rate and fee_rate (bp a year, NaN
    where the list says NA), available (shares), capped (the list says "more than `available`"), figi.

    Parameters
    ----------
    path : str or Path
    agreement : float
        FEERATE + REBATERATE is the day's benchmark; the share of rows that must give the commonest sum, to 0.01 bp.

    Raises
    ------
    TableError
        Also if the `#EOF` count is not the number of rows, or fewer rows agree on the benchmark.
    """
    name, lines = _lines(path, "utf-8")
    begin = lines[0].split("|")
    if begin[0] != "#BOF" or len(begin) != 3:
        raise TableError(f"{name}: line 1 must be #BOF|date|time; got {lines[0]!r}")
    _header(name, 2, lines[1] if len(lines) > 1 else "", SHORTABLE)
    count = _trailer(name, lines, -1, "#EOF|")
    columns = _fields(name, lines[2:-1], 3, len(SHORTABLE))
    symbol, currency, full_name, contract, isin, rebate, fee, available, figi, _ = columns
    rebate, fee = ([np.nan if r == "NA" else r for r in column] for column in (rebate, fee))
    frame = pd.DataFrame({
        "as_of": _dates(name, [" ".join(begin[1:])] * len(symbol), 1, "%Y.%m.%d %H:%M:%S"), "symbol": symbol,
        "currency": currency, "name": full_name, "contract": contract, "isin": isin,
        "rebate_rate": (100 * _numbers(name, rebate, 3, "REBATERATE", low=-np.inf)).round(2),
        "fee_rate": (100 * _numbers(name, fee, 3, "FEERATE")).round(2),
        "available": _whole(name, [a.removeprefix(">") for a in available], 3, "AVAILABLE"),
        "capped": [a.startswith(">") for a in available], "figi": figi})  # fmt: skip
    _agrees(name, "#EOF count", count, len(frame))
    _refuse(name, frame["contract"].duplicated(), contract, 3, "CON", "listed once")
    sums = (frame["fee_rate"] + frame["rebate_rate"]).round(2)
    share = (sums == sums.mode().iloc[0]).mean() if sums.notna().any() else 0.0
    if share < agreement:
        raise TableError(
            f"{name}: FEERATE + REBATERATE must be one benchmark on {agreement:.0%} of rows; got {share:.1%}"
        )
    return frame


def availability(path):
    """One stock through a day: time, rebate_rate and fee_rate (bp a year), available (shares)."""
    name, lines = _lines(path, "utf-8")
    _header(name, 1, lines[0], AVAILABILITY)
    date, time, rebate, fee, available = _fields(name, lines[1:], 2, len(AVAILABILITY))
    stamp = [f"{d} {t}" for d, t in zip(date, time, strict=True)]
    frame = pd.DataFrame({
        "time": _dates(name, stamp, 2, "%Y.%m.%d %H:%M:%S"),
        "rebate_rate": (100 * _numbers(name, rebate, 2, "REBATE", low=-np.inf)).round(2),
        "fee_rate": (100 * _numbers(name, fee, 2, "FEE")).round(2),
        "available": _whole(name, available, 2, "AVAIL")})  # fmt: skip
    _refuse(name, frame["time"].diff() <= pd.Timedelta(0), time, 2, "TM", "later than the line before")
    return frame


def occ_balances(path):
    """OCC stock-loan balances: trade_date, symbol, market_loans, hedge_loans (dollars on loan at the close).

    The CSV's names may have dots for spaces and a leading row number, as exports from R have. In the JSON the hedge
    programme is called bilateral; the day's numbers of new loans are added as new_market_loans and new_hedge_loans.

    Raises
    ------
    TableError
        Also if row numbers skip, a symbol repeats on a day, or the JSON breaks off.
    """
    name, lines = _lines(path, "utf-8")
    if lines[0].lstrip().startswith("{"):
        frame, first = _occ_json(name, "\n".join(lines)), 1
    else:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
        header = [cell.replace(".", " ") for cell in rows[0]]
        numbered = header[:1] == [""]
        _header(name, 1, "|".join(header[numbered:]), OCC_CSV)
        columns = _columns(name, rows[1:], 2, len(header))
        if numbered:
            skips = np.asarray(_whole(name, columns.pop(0), 2, "row number")) != np.arange(1, len(rows))
            _refuse(name, skips, [r[0] for r in rows[1:]], 2, "row number", "one more than the line before")
        symbol, market, hedge, date = columns
        first = 2
        frame = pd.DataFrame({
            "trade_date": _dates(name, date, 2, "%m/%d/%Y"), "symbol": symbol,
            "market_loans": _numbers(name, market, 2, OCC_CSV[1]),
            "hedge_loans": _numbers(name, hedge, 2, OCC_CSV[2])})  # fmt: skip
    _refuse(name, frame.duplicated(["trade_date", "symbol"]), frame["symbol"], first, "Symbol", "listed once a day")
    return frame


def _occ_json(name, text):
    try:
        records = json.loads(text)["stockLoanResults"]
    except json.JSONDecodeError as error:
        raise TableError(f"{name}: line {error.lineno} must be JSON (cut short?); got {error.msg}") from None
    except (KeyError, TypeError):
        raise TableError(f"{name}: line 1 must be an object with stockLoanResults; got none") from None
    if not isinstance(records, list):
        raise TableError(f"{name}: stockLoanResults must be a list; got {records!r}")
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise TableError(f"{name}: record {number} must be an object; got {record!r}")
        if missing := [field for field in OCC_JSON if record.get(field) in (None, "")]:
            raise TableError(f"{name}: record {number} must have {', '.join(OCC_JSON)}; got no {', '.join(missing)}")
    date, symbol, new_market, market, new_hedge, hedge = ([str(r[field]) for r in records] for field in OCC_JSON)
    return pd.DataFrame({
        "trade_date": _dates(name, date, 1, "%m/%d/%Y" if date and "/" in date[0] else "%Y-%m-%d", "record"),
        "symbol": symbol, "market_loans": _numbers(name, market, 1, OCC_JSON[3], word="record"),
        "hedge_loans": _numbers(name, hedge, 1, OCC_JSON[5], word="record"),
        "new_market_loans": _whole(name, new_market, 1, OCC_JSON[2], "record"),
        "new_hedge_loans": _whole(name, new_hedge, 1, OCC_JSON[4], "record")})  # fmt: skip


def _lines(path, encoding):
    """The file's name and its lines, without line ends; the last line must have one."""
    path = Path(path)
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                if len(archive.namelist()) != 1:
                    raise TableError(f"{path.name} must hold one file; got {len(archive.namelist())}")
                raw = archive.read(archive.namelist()[0])
        else:
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (zipfile.BadZipFile, EOFError, gzip.BadGzipFile) as error:
        raise TableError(f"{path.name} must be a whole archive; got {error}") from None
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise TableError(
            f"{path.name}: line {line} must be {encoding} text; got byte 0x{raw[error.start]:02x}"
        ) from None
    lines = text.replace("\r\n", "\n").split("\n")
    if not text.strip():
        raise TableError(f"{path.name} must not be empty; got no line")
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise TableError(f"{path.name}: line {line} must be {encoding} text; got a zero byte")
    if lines[-1] != "" and not lines[0].lstrip().startswith("{"):
        raise TableError(
            f"{path.name}: line {len(lines)} must end with a line end (cut short?); got {lines[-1][-40:]!r}"
        )
    return path.name, lines[:-1] if lines[-1] == "" else lines


def _header(name, number, line, columns):
    if line.split("|") != columns:
        raise TableError(f"{name}: line {number} must be {'|'.join(columns)}; got {line!r}")


def _trailer(name, lines, place, prefix):
    if len(lines) <= -place:
        raise TableError(
            f"{name}: line {len(lines)} must be followed by the trailer {prefix}N (cut short?); got no line"
        )
    line, number = lines[place], len(lines) + place + 1
    if not (line.startswith(prefix) and line.removeprefix(prefix).isdecimal()):
        raise TableError(f"{name}: line {number} must be the trailer {prefix}N (cut short?); got {line!r}")
    return int(line.removeprefix(prefix))


def _agrees(name, what, stated, found):
    if stated != found:
        raise TableError(f"{name}: trailer's {what} must match the rows above it; got {stated}, rows give {found}")


def _fields(name, lines, first, width):
    return _columns(name, [line.split("|") for line in lines], first, width)


def _columns(name, rows, first, width):
    """Rows of fields as columns; every row must have `width` of them."""
    for number, row in enumerate(rows, first):
        if len(row) != width:
            raise TableError(f"{name}: line {number} must have {width} fields; got {len(row)}")
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _refuse(name, bad, shown, first, column, rule, word="line"):
    where = np.flatnonzero(np.asarray(bad))
    if len(where):
        examples = "; ".join(f"{word} {i + first}: {list(shown)[i]}" for i in where[:3])
        raise TableError(f"{name}: {column} must be {rule}; {len(where)} bad, first {examples}")


def _numbers(name, values, first, column, low=0.0, word="line"):
    number = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce").astype("float64")
    given = pd.Series(values, dtype=object).notna()
    _refuse(name, given & ~np.isfinite(number), values, first, column, "a number", word)
    _refuse(name, number < low, values, first, column, f">= {low:g}", word)
    return number


def _whole(name, values, first, column, word="line"):
    bad = [not (value.isdecimal() and len(value) <= 18) for value in values]
    _refuse(name, bad, values, first, column, "a whole number >= 0", word)
    return np.array([int(value) for value in values], dtype=np.int64)


def _dates(name, values, first, form, word="line"):
    parsed = pd.to_datetime(pd.Series(values, dtype="str"), format=form, errors="coerce")
    _refuse(name, parsed.isna(), values, first, "date", f"of the form {form}", word)
    return parsed.astype("datetime64[us]")
