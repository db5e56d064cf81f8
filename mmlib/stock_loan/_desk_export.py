"""A book from the two or three CSV files a desk exports; `sources` has their form, `_column_map` how it may differ.

A row of loans is a day's flow between the desk and a counterparty in a name: what is borrowed in a day is a loan, what
is returned closes the oldest first, a row's fees hold for the whole balance from its day on. What was on loan before
the first day comes from opening.csv or, without one, is the least that makes every return possible,
max(0, max_t Σ_{s≤t} (returned − borrowed)) a name and counterparty: a lower bound, as the notes and the log say.
"""

import logging
from collections import defaultdict, deque
from pathlib import Path

import numpy as np
import pandas as pd

from mmlib.stock_loan import _column_map, _csv_tables, tables
from mmlib.stock_loan._book import Book, TableError
from mmlib.stock_loan._schemas import COLUMNS

_LOANS = COLUMNS["loans"]
FORM = {
    "inventory": {
        "tradeDate": COLUMNS["closes"]["trade_date"],
        "securityId": COLUMNS["closes"]["security_id"],
        "quantityAvailable": COLUMNS["inventory"]["quantity_available"],
        "marketPrice": COLUMNS["closes"]["close"],
    },
    "loans": {
        "tradeDate": _LOANS["trade_date"],
        "securityId": _LOANS["security_id"],
        "counterPartyId": _LOANS["client_id"],
        "quantityReturned": _LOANS["quantity"],
        "quantityBorrowed": _LOANS["quantity"],
        "loanFee": _LOANS["loan_fee"],
        "borrowFee": _LOANS["borrow_fee"],
        "rebateRate": _LOANS["rebate_rate"],
    },
    "opening": {
        "securityId": _LOANS["security_id"],
        "counterPartyId": _LOANS["client_id"],
        "quantityOnLoan": _LOANS["quantity"],
        "loanFee": _LOANS["loan_fee"],
        "borrowFee": _LOANS["borrow_fee"],
    },
}
KEYS = {
    "inventory": ["tradeDate", "securityId"],
    "loans": ["tradeDate", "securityId", "counterPartyId"],
    "opening": ["securityId", "counterPartyId"],
}
FEES = ("loanFee", "borrowFee", "rebateRate")
OPTIONAL = ("rebateRate",)  # may be mapped to null: not in the file
POOL = "POOL"  # stands for every lender: the files name none
LEAST_PLAUSIBLE = 5.0  # bp a year: half of a desk's fees below it are per cent, or want to be called bp


def is_one(folder: Path) -> bool:
    """Whether a folder holds a desk's export rather than the eleven tables: a column map, or a header that says so."""
    return (folder / _column_map.FILE).is_file() or any(
        path.is_file() and b"tradeDate" in _first_line(path)
        for path in (folder / "inventory.csv", folder / "loans.csv")
    )


def book(folder: Path) -> Book:
    """The book of an export.

    Raises
    ------
    TableError
        Names the file, the column as the file calls it, and the line.
    """
    written = _column_map.read(folder, FORM)
    paths = {file: folder / written.files.get(file, f"{file}.csv") for file in FORM}
    inventory, loans = (_read(file, paths[file], written) for file in ("inventory", "loans"))
    _doubt_unit(loans, paths["loans"].name, written)
    dates = np.unique(np.concatenate([inventory["tradeDate"], loans["tradeDate"]]))
    if paths["opening"].is_file() or "opening" in written.files:
        opening = _read("opening", paths["opening"], written)
        opening = opening[opening["quantityOnLoan"] > 0]
        said = f"{len(opening)} opening balances are those of {paths['opening'].name}"
    else:
        opening = _least_opening(loans)
        said = _inferred(opening, dates)
        logging.getLogger(__name__).warning("%s", said)
    lots = _lots(loans, opening, dates, paths["loans"].name)
    _demand_prices(inventory, loans, opening, dates, {file: path.name for file, path in paths.items()})
    return tables.check(_tables(inventory, loans, lots, dates, (*_notes(written, loans, dates), said)))


def _first_line(path):
    with path.open("rb") as file:
        return file.readline(10_000)


def _read(file, path, written):
    """One file, its columns under their documented names, numbers plain, fees in bp, checked; index = line − 2."""
    names = {column: written.columns.get(file, {}).get(column, column) for column in FORM[file]}
    absent = [column for column, name in names.items() if name is None]
    if bad := [column for column in absent if column not in OPTIONAL]:
        raise TableError(f"{_column_map.FILE}: {', '.join(bad)} of {file} must be in the file; got null")
    found = _csv_tables.read(path, ended=written.last_line_end, delimiter=written.delimiter, encoding=written.encoding)
    ignored = written.ignore.get(file, [])
    if gone := [name for name in ignored if name not in found]:
        raise TableError(f"{path.name}: the columns to ignore must be there; got no {', '.join(gone)}")
    found = found.drop(columns=[name for name in ignored if name not in names.values()])
    used = {name: column for column, name in names.items() if name is not None}
    wrong = [f"missing {name}" for name in used if name not in found]
    wrong += [f"unknown {name}" for name in found if name not in used]
    if wrong:
        raise TableError(
            f"{path.name}: columns must be {', '.join(used)}; got {', '.join(wrong)}"
            f" (other names, and columns to ignore, are said in {_column_map.FILE})"
        )
    for name, column in used.items():
        kind = FORM[file][column].dtype.type.kind
        if kind == "M":
            found[name], bad = written.date(found[name])
            _refuse(path, found[name], bad, name, f"a date of the form {written.date_format}")
        elif kind in "if":
            found[name], bad = written.number(found[name], column in FEES)
            like = f"1{written.thousands}234{written.decimal}5"
            _refuse(path, found[name], bad, name, f"a number like {like} (marks are said in {_column_map.FILE})")
    rules = {name: FORM[file][column] for name, column in used.items()}
    keys = [names[column] for column in KEYS[file]]
    found = tables.validate(found, rules, keys, path.name, 2).rename(columns=used)
    return found.assign(**{column: np.nan for column in absent})


def _refuse(path, values, bad, column, rule):
    if bad.any():
        shown = "; ".join(f"line {i + 2}: {values[i]}" for i in np.flatnonzero(bad)[:3])
        raise TableError(f"{path.name}: {column} must be {rule}; {bad.sum()} of {len(bad)} rows bad, first {shown}")


def _doubt_unit(loans, name, written):
    """Refuse fees that look like per cent unless somebody has said what they are."""
    paid = loans.loc[loans["loanFee"] > 0, "loanFee"]
    if "fee_unit" not in written.declared and len(paid) and paid.median() < LEAST_PLAUSIBLE:
        raise TableError(
            f"{name}: half of loanFee is below {LEAST_PLAUSIBLE:g} (median {paid.median():g}), as per cent would be:"
            f' {_column_map.FILE} must say {{"fee_unit": "percent"}} or {{"fee_unit": "bp"}}'
        )


def _least_opening(loans):
    """The least balance before the first day with which no return exceeds what is on loan; a row a lane with one."""
    net = (loans["quantityReturned"] - loans["quantityBorrowed"]).groupby(
        [loans["securityId"], loans["counterPartyId"]]
    )
    least = net.cumsum().groupby([loans["securityId"], loans["counterPartyId"]]).max().clip(lower=0)
    terms = loans.groupby(["securityId", "counterPartyId"])[["loanFee", "borrowFee"]].first()
    found = terms.assign(quantityOnLoan=least).reset_index()
    return found[found["quantityOnLoan"] > 0]


def _inferred(opening, dates):
    day = f"{pd.Timestamp(dates[0]):%Y-%m-%d}" if len(dates) else "the first day"
    missing = "what was on loan then and never came back is not in the book (opening.csv would say)"
    if opening.empty:
        return f"no opening.csv: the returns need no loan from before {day}; {missing}"
    shares = f"{opening['quantityOnLoan'].sum():,}"
    return (
        f"no opening.csv: {len(opening)} loans of {shares} shares are taken to be open before {day}, the least that the"
        f" returns need, at the fees of each one's first row; {missing}"
    )


def _lots(loans, opening, dates, file):
    """Loan events from daily flows, the opening loans first."""
    events, queues, fees = [], defaultdict(deque), {}
    for row in opening.itertuples():
        lane = (row.securityId, row.counterPartyId)
        fees[lane], loan = (row.loanFee, row.borrowFee), f"{row.securityId}|{row.counterPartyId}|opening"
        queues[lane].append((loan, row.quantityOnLoan))
        events.append((dates[0], loan, "opening", *lane, POOL, row.quantityOnLoan, *fees[lane], np.nan))
    for row in loans.itertuples():
        lane = (row.securityId, row.counterPartyId)
        queue, terms = queues[lane], (row.loanFee, row.borrowFee)
        common = (*lane, POOL)
        if queue and fees[lane] != terms:
            events += [(row.tradeDate, loan, "re-rate", *common, 0, *terms, row.rebateRate) for loan, _ in queue]
        fees[lane] = terms
        if row.quantityBorrowed:
            loan = f"{row.securityId}|{row.counterPartyId}|{row.tradeDate:%Y-%m-%d}"
            queue.append((loan, row.quantityBorrowed))
            events.append((row.tradeDate, loan, "new", *common, row.quantityBorrowed, *terms, row.rebateRate))
        left = row.quantityReturned
        while left:
            if not queue:
                raise TableError(
                    f"{file}: quantityReturned must not exceed what was borrowed before and is still on loan;"
                    f" line {row.Index + 2}, {row.tradeDate:%Y-%m-%d}: {left} of {row.quantityReturned} too many"
                )
            loan, balance = queue.popleft()
            taken = min(left, balance)
            if taken < balance:
                queue.appendleft((loan, balance - taken))
            event = "return" if taken == balance else "partial return"
            events.append((row.tradeDate, loan, event, *common, taken, *terms, row.rebateRate))
            left -= taken
    return pd.DataFrame(events, columns=list(_LOANS))


def _demand_prices(inventory, loans, opening, dates, names):
    """Refuse a day without a price on which a name is on loan or available; names the day and the line behind it."""
    ids = np.unique(np.concatenate([inventory["securityId"], loans["securityId"], opening["securityId"]]))
    held = np.zeros((len(dates) + 1, len(ids)), dtype=np.int64)
    row, column = pd.Index(dates).get_indexer, pd.Index(ids).get_indexer
    np.add.at(held[0], column(opening["securityId"]), opening["quantityOnLoan"])
    at = row(loans["tradeDate"]) + 1, column(loans["securityId"])
    np.add.at(held, at, loans["quantityBorrowed"] - loans["quantityReturned"])
    on_loan = held.cumsum(axis=0)[1:] > 0
    on_loan[at[0][loans["quantityBorrowed"] > 0] - 1, at[1][loans["quantityBorrowed"] > 0]] = True
    available = pd.DataFrame(np.nan, index=range(len(dates)), columns=range(len(ids))).to_numpy(copy=True)
    priced = np.zeros_like(on_loan)
    spot = row(inventory["tradeDate"]), column(inventory["securityId"])
    available[spot], priced[spot] = inventory["quantityAvailable"], True
    available = pd.DataFrame(available).ffill().fillna(0).to_numpy() > 0
    lacking = np.argwhere((on_loan | available) & ~priced)
    if not len(lacking):
        return
    day, name = lacking[0]
    before, why = pd.Timestamp(dates[day]), f"it is available, by the row before, in {names['inventory']}"
    if on_loan[day, name]:
        rows = loans[(loans["securityId"] == ids[name]) & (loans["tradeDate"] <= before)]
        last = rows.loc[rows["quantityBorrowed"] > 0].index if len(rows) else rows.index
        why = f"line {last[-1] + 2} of {names['loans']}" if len(last) else "a loan from before the first day"
        why = f"it is on loan, by {why}"
    raise TableError(
        f"{names['inventory']}: marketPrice must be given on every trade date on which a name is on loan or available;"
        f" {len(lacking)} missing, first of {ids[name]} on {before:%Y-%m-%d}, when {why}"
    )


def _notes(written, loans, dates):
    """What was assumed in reading the files."""
    unit = "declared in" if "fee_unit" in written.declared else "by default: nothing is said in"
    yield f"fees are read as {written.fee_unit} a year, {unit} {_column_map.FILE}"
    for file, names in written.ignore.items():
        yield f"columns of {file} that are ignored: {', '.join(names)}"
    yield f"lenders are not named: one pool, {POOL}, stands for all; its kind, recalls and buy-ins are not known"
    yield "risk weights, credit limits, sectors, volumes, positions and locates are not known; round lots are 1"
    known = _benchmark(loans, dates).notna().sum()
    yield f"loanFee + rebateRate gives one benchmark on {known} of {len(dates)} trade dates; the others have none"


def _benchmark(loans, dates):
    sums = (loans["loanFee"] + loans["rebateRate"]).round(2).groupby(loans["tradeDate"])
    return sums.first().where(sums.min() == sums.max()).reindex(dates)


def _tables(inventory, loans, lots, dates, notes):
    ids = np.unique(np.concatenate([inventory["securityId"], lots["security_id"]]))
    parties = np.unique(np.concatenate([loans["counterPartyId"], lots["client_id"]]))
    empty = {
        name: pd.DataFrame({column: pd.Series(dtype=rule.dtype.type) for column, rule in COLUMNS[name].items()})
        for name in ("debits", "positions", "locates")
    }
    unknown = {"sector": "unknown", "bucket": "unknown", "round_lot": 1, "average_daily_volume": 0}
    stock = {"trade_date": inventory["tradeDate"], "security_id": inventory["securityId"]}
    party = {"client_type": "unknown", "markup": 0.0, "credit_limit": np.nan, "risk_weight": np.nan}
    pool = {"pool_type": "unknown", "merit": 1, "client_id": "", "concentration_limit": 1.0}
    rates = {"trade_date": dates, "benchmark_rate": _benchmark(loans, dates).to_numpy(), "funding_rate": np.nan}
    supply = {"pool_id": POOL, "quantity_available": inventory["quantityAvailable"], "borrow_fee": np.nan}
    return Book(
        securities=pd.DataFrame({"security_id": ids, "symbol": ids, **unknown}),
        closes=pd.DataFrame({**stock, "close": inventory["marketPrice"], "indicative_fee": np.nan}),
        rates=pd.DataFrame(rates),
        clients=pd.DataFrame({"client_id": parties, **party}),
        pools=pd.DataFrame({"pool_id": [POOL], **pool}),
        eligibility=pd.DataFrame({"pool_id": POOL, "client_id": parties}),
        inventory=pd.DataFrame({**stock, **supply}),
        loans=lots,
        notes=tuple(notes),
        **empty,
    )
