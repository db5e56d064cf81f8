"""The door: every rule of the tables, broken once, and what the message says."""

import re
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from mmlib.stock_loan import desk, tables
from mmlib.stock_loan._schemas import COLUMNS, KEYS
from mmlib.stock_loan.tables import TableError


@pytest.fixture(scope="module")
def book():
    return desk.book(securities=20, days=15, clients=4, seed=3)


def changed(book, name, row, **values):
    """The book with some cells of one row replaced."""
    frame = getattr(book, name).copy()
    for column, value in values.items():
        if not isinstance(value, type(frame[column].iloc[0].item() if frame[column].dtype.kind in "if" else value)):
            frame[column] = frame[column].astype(object)
        if isinstance(value, str) and frame[column].dtype.kind == "M":
            frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value
    return replace(book, **{name: frame})


def message(book):
    with pytest.raises(TableError) as caught:
        tables.check(book)
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


def one_loan(events, **common):
    """Events as (date, event, quantity, fee) of one loan, all other columns plausible."""
    rows = [
        {"trade_date": date, "loan_id": "L", "event": event, "security_id": "S0000", "client_id": "C01",
         "pool_id": "STR", "quantity": quantity, "loan_fee": fee, "borrow_fee": 10.0, "rebate_rate": np.nan, **common}
        for date, event, quantity, fee in events
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_generated_book_is_already_in_its_final_form(book):
    """Checking twice changes nothing: columns, types, order and values."""
    again = tables.check(book)
    assert [field.name for field in fields(book)] == [*COLUMNS, "notes"]
    for name in COLUMNS:
        frame = getattr(again, name)
        pd.testing.assert_frame_equal(frame, getattr(book, name), check_exact=True)
        assert list(frame.columns) == list(COLUMNS[name])
        assert not frame.duplicated(KEYS[name]).any()


def test_rows_in_any_order_dates_as_text_and_whole_floats_give_the_same_book(book):
    """None of these loses anything, so none may change the book."""
    shuffled = book.loans.sample(frac=1, random_state=1).astype({"quantity": "float64"})
    shuffled["trade_date"] = shuffled["trade_date"].dt.strftime("%Y-%m-%d")
    again = tables.check(replace(book, loans=shuffled, closes=book.closes[::-1]))
    pd.testing.assert_frame_equal(again.loans, book.loans, check_exact=True)
    pd.testing.assert_frame_equal(again.closes, book.closes, check_exact=True)


@pytest.mark.parametrize(
    ("name", "column", "value", "rule"),
    [
        ("loans", "quantity", -100, "must be >= 0"),
        ("loans", "quantity", np.nan, "must be a whole number, not missing"),
        ("loans", "quantity", 1.5, "must be a whole number"),
        ("inventory", "quantity_available", -1, "must be >= 0"),
        ("closes", "close", np.nan, "must not be missing"),
        ("closes", "close", -5.0, "must be >= 0.0001"),
        ("closes", "close", 0.0, "must be >= 0.0001"),
        ("closes", "close", np.inf, "must be >= 0.0001"),
        ("closes", "close", 10.12345, "at most 4 decimals"),
        ("loans", "loan_fee", -0.01, "must be >= 0 and <= 200000"),
        ("loans", "loan_fee", 200_000.01, "must be >= 0 and <= 200000"),
        ("loans", "loan_fee", 0.005, "at most 2 decimals"),
        ("loans", "event", "renew", "must be one of opening, new, re-rate"),
        ("loans", "security_id", "nobody", "must be known in securities"),
        ("loans", "client_id", "nobody", "must be known in clients"),
        ("locates", "client_id", "", "must not be empty"),
        ("inventory", "pool_id", "nobody", "must be known in pools"),
        ("pools", "client_id", "nobody", "must be known in clients"),
        ("loans", "trade_date", pd.Timestamp("2025-08-23"), "must be a trade date"),
        ("closes", "trade_date", pd.Timestamp("2025-08-18 09:30"), "without a time of day"),
        ("closes", "trade_date", "yesterday", "must be a date, YYYY-MM-DD"),
        ("securities", "round_lot", 0, "must be >= 1"),
        ("securities", "round_lot", "many", "must be a whole number"),
        ("closes", "close", "dear", "must be a number"),
    ],
)
def test_a_bad_cell_is_named_with_its_table_column_row_rule_and_count(book, name, column, value, rule):
    """Row 4, wherever the sort would put it."""
    row = 4
    bad = changed(book, name, row, **{column: value})
    if "must be known" in rule or "trade date" in rule:
        text = message(bad)
    else:  # a table on its own
        with pytest.raises(TableError) as caught:
            tables.validate(getattr(bad, name), COLUMNS[name], KEYS[name], name)
        text = str(caught.value)
    first = next(line for line in text.splitlines() if rule in line)
    assert first.startswith(f"{name}: {column} ")
    assert f"1 of {len(getattr(book, name))} rows bad, first row {row}: " in first


def test_all_problems_of_a_table_are_reported_at_once_with_three_rows_each(book):
    bad = changed(book, "closes", slice(10, 15), close=-1.0)
    bad = changed(bad, "closes", 20, indicative_fee=-1.0)
    lines = message(bad).splitlines()
    assert len(lines) == 2
    assert "6 of 300 rows bad, first row 10: -1.0; row 11: -1.0; row 12: -1.0" in lines[0]
    assert "indicative_fee" in lines[1]


def test_a_file_is_called_by_its_name_and_its_rows_by_their_lines(book):
    bad = changed(book, "closes", 7, close=-1.0)
    with pytest.raises(TableError, match=r"closes\.csv: close .* first line 9: -1\.0"):
        tables.check(bad, {"closes": ("closes.csv", 2)})


def test_missing_and_unknown_columns_are_refused(book):
    bad = replace(book, rates=book.rates.rename(columns={"benchmark_rate": "sofr"}))
    assert "got missing benchmark_rate, unknown sofr" in message(bad)


def test_duplicate_keys_are_refused_not_dropped(book):
    bad = replace(book, closes=pd.concat([book.closes, book.closes.iloc[[0, 5]]]))
    assert "repeats the key trade_date, security_id; 2 of 302 rows bad, first row 300: " in message(bad)


def test_a_pool_that_may_serve_nobody_is_refused(book):
    bad = replace(book, eligibility=book.eligibility[book.eligibility["pool_id"] != "FPL"])
    assert "pools: pool_id must be eligible for at least one client" in message(bad)


def test_a_loan_from_a_pool_to_a_client_it_may_not_serve_is_refused(book):
    bad = replace(book, eligibility=book.eligibility[book.eligibility["client_id"] != "C01"])
    assert "must be eligible for the loan's pool" in message(bad)


def test_locates_never_grow_on_their_way(book):
    row = 0
    wanted = int(book.locates["quantity_requested"].iloc[row])
    assert "quantity_approved must be <= quantity_requested" in message(
        changed(book, "locates", row, quantity_approved=wanted + 100)
    )


def test_a_short_position_in_a_cash_account_is_refused(book):
    row = int(np.flatnonzero(book.positions["side"] == "short")[0])
    assert "must be margin for a short" in message(changed(book, "positions", row, account="cash"))


@pytest.mark.parametrize(
    ("events", "rule"),
    [
        ([(1, "return", 100, 50.0), (3, "new", 100, 50.0)], "must not come before the loan is new"),
        ([(1, "partial return", 100, 50.0)], "must not come before the loan is new"),
        ([(1, "new", 100, 50.0), (3, "new", 100, 50.0)], "must be new only once"),
        ([(1, "new", 100, 50.0), (3, "partial return", 101, 50.0)], "must not return more than is on loan"),
        ([(0, "opening", 100, 50.0), (3, "return", 101, 50.0)], "must not return more than is on loan"),
        ([(0, "opening", 100, 50.0), (3, "new", 100, 50.0)], "must be new only once"),
        ([(1, "opening", 100, 50.0)], "must be opening only on the first trade date"),
        ([(0, "opening", 0, 50.0)], "must be 0 for a re-rate and > 0"),
        ([(1, "new", 100, 50.0), (3, "return", 50, 50.0)], "must return all that is on loan"),
        ([(1, "new", 100, 50.0), (3, "return", 99, 50.0)], "must return all that is on loan"),
        ([(1, "new", 100, 50.0), (3, "recall", 200, 50.0)], "must not recall more than is on loan"),
        ([(1, "new", 100, 50.0), (3, "return", 100, 50.0), (4, "re-rate", 0, 60.0)], "after the loan is closed"),
        ([(1, "new", 0, 50.0)], "must be 0 for a re-rate and > 0"),
        ([(1, "new", 100, 50.0), (3, "re-rate", 100, 60.0)], "must be 0 for a re-rate and > 0"),
        ([(1, "new", 100, 50.0), (3, "partial return", 50, 60.0)], "must not change without a re-rate"),
    ],
)
def test_an_impossible_life_of_a_loan_is_refused(book, events, rule):
    loans = one_loan([(book.dates[t], *rest) for t, *rest in events])
    assert rule in message(replace(book, loans=loans))


def test_a_possible_life_of_a_loan_is_accepted_even_within_one_day(book):
    day = book.dates[2]
    events = [("return", 40, 60.0), ("new", 100, 50.0), ("partial return", 60, 60.0), ("re-rate", 0, 60.0)]
    loans = one_loan([(day, *event) for event in events])
    checked = tables.check(replace(book, loans=loans))
    assert list(checked.loans["event"]) == ["new", "re-rate", "partial return", "return"]


def test_a_loan_may_not_change_hands(book):
    loans = one_loan([(book.dates[1], "new", 100, 50.0), (book.dates[3], "return", 100, 50.0)])
    loans.loc[1, "client_id"] = "C02"
    assert "loans: client_id must not change during a loan" in message(replace(book, loans=loans))


def test_fee_and_rebate_must_add_up_to_the_benchmark(book):
    row = 3
    rebate = float(book.loans["rebate_rate"].iloc[row])
    text = message(changed(book, "loans", row, rebate_rate=rebate + 0.01))
    assert "rebate_rate must be benchmark_rate − loan_fee" in text
    assert "1 of" in text


def test_a_day_without_a_close_is_refused_while_the_name_is_held_and_only_then(book):
    """Dropping one close breaks the loan that spans the day; dropping those of days or names not held, none."""
    loan = one_loan([(book.dates[1], "new", 100, 50.0), (book.dates[5], "return", 100, 50.0)])
    small = replace(book, loans=loan, inventory=book.inventory.iloc[:0], locates=book.locates.iloc[:0])
    of_loan, date = small.closes["security_id"] == "S0000", small.closes["trade_date"]
    gone = of_loan & (date == book.dates[4])
    assert "must have a close in closes on every trade date" in message(replace(small, closes=small.closes[~gone]))
    unused = (small.closes["security_id"] == "S0001") | (of_loan & (date > book.dates[5]))
    assert len(tables.check(replace(small, closes=small.closes[~unused])).closes) == len(small.closes) - unused.sum()


def test_a_locate_needs_a_close_on_its_own_day(book):
    name = book.locates.iloc[0]
    gone = (book.closes["security_id"] == name.security_id) & (book.closes["trade_date"] == name.trade_date)
    none = {"loans": book.loans.iloc[:0], "inventory": book.inventory.iloc[:0]}
    assert "locates: security_id must have a close" in message(replace(book, closes=book.closes[~gone], **none))


def test_shares_under_recall_are_the_notices_less_the_returns_that_follow(book):
    """new 1000, return 100, recall 300, recall 200, return 400, recall 50: 0, 0, 300, 500, 100, 150 under recall."""
    events = [("new", 1000), ("partial return", 100), ("recall", 300), ("recall", 200), ("partial return", 400),
              ("recall", 50)]  # fmt: skip
    log = one_loan([(book.dates[i], event, quantity, 50.0) for i, (event, quantity) in enumerate(events)])
    assert list(tables.under_recall(log)) == [0, 0, 300, 500, 100, 150]
    twice = one_loan([(book.dates[i], event, 60, 50.0) for i, event in enumerate(["new", "recall", "recall"])])
    assert "must not recall more than is on loan" in message(replace(book, loans=twice))


def test_a_value_beyond_belief_is_refused(book):
    """10^12 dollars, and a share more: sums of value × fee × days fit 64 bits below it."""
    name = book.inventory["security_id"].iloc[0]
    closes = book.closes.assign(close=book.closes["close"].mask(book.closes["security_id"] == name, 8.0))
    row, most = book.inventory.iloc[[0]], 125_000_000_000
    for shares in (most, most + 1):
        made = replace(book, closes=closes, inventory=row.assign(quantity_available=shares), loans=book.loans.iloc[:0])
        if shares == most:
            assert tables.check(made).inventory["quantity_available"].tolist() == [most]
        else:
            assert "quantity_available must be worth at most 1e+12 dollars" in message(made)


def test_a_whole_number_that_a_float_cannot_hold_is_refused_not_rounded(book):
    owed = book.debits.assign(net_debit=2**53 + 1)
    assert "debits: net_debit must be a number, whole ones below 2^53" in message(replace(book, debits=owed))


@pytest.mark.parametrize("text", ["2025-08", "2025", "20250818", "2025-08-1", "2025-08-18x"])
def test_part_of_a_date_is_no_date(book, text):
    """ISO 8601 would read the first as the first of August."""
    dates = book.closes["trade_date"].dt.strftime("%Y-%m-%d").astype(object)
    dates[0] = text
    bad = replace(book, closes=book.closes.assign(trade_date=dates))
    assert "closes: trade_date must be a date, YYYY-MM-DD; 1 of" in message(bad)


def test_a_missing_close_is_named_with_its_name_and_day(book):
    loan = one_loan([(book.dates[1], "new", 100, 50.0), (book.dates[5], "return", 100, 50.0)])
    gone = (book.closes["security_id"] == "S0000") & (book.closes["trade_date"] == book.dates[3])
    bad = replace(book, loans=loan, inventory=book.inventory.iloc[:0], locates=book.locates.iloc[:0])
    text = message(replace(bad, closes=book.closes[~gone]))
    assert "must have a close in closes on every trade date" in text
    assert f"(none of S0000 on {book.dates[3]:%Y-%m-%d})" in text


def test_what_is_bought_in_needs_a_close_on_its_day_although_nothing_is_left(book):
    loan = one_loan([(book.dates[1], "new", 100, 50.0), (book.dates[5], "buy-in", 100, 50.0)])
    gone = (book.closes["security_id"] == "S0000") & (book.closes["trade_date"] == book.dates[5])
    bad = replace(book, loans=loan, inventory=book.inventory.iloc[:0], locates=book.locates.iloc[:0])
    assert f"(none of S0000 on {book.dates[5]:%Y-%m-%d})" in message(replace(bad, closes=book.closes[~gone]))


def test_a_loan_from_before_the_first_day_is_on_loan_from_the_first(book):
    """By its opening; its balance, and what may come back, are as if it were new."""
    loan = one_loan([(book.dates[0], "opening", 100, 50.0), (book.dates[0], "partial return", 40, 50.0),
                     (book.dates[4], "return", 60, 50.0)])  # fmt: skip
    checked = tables.check(replace(book, loans=loan[::-1]))
    assert checked.loans["event"].tolist() == ["opening", "partial return", "return"]
    assert tables.signed_quantity(checked.loans).tolist() == [100, -40, -60]


def test_a_book_needs_a_trade_date(book):
    empty = {name: getattr(book, name).iloc[:0] for name in COLUMNS if "trade_date" in COLUMNS[name]}
    assert "trade_date must have at least one row" in message(replace(book, **empty))


@pytest.mark.parametrize(
    ("table", "column", "value", "rule"),
    [
        ("closes", "close", True, "must be a number"),
        ("closes", "close", 1 + 2j, "must be a number"),
        ("inventory", "quantity_available", True, "must be a number"),
        ("closes", "trade_date", "2025-08-18T00:00:00Z", "must be a date without a time zone"),
    ],
)
def test_one_cell_of_another_kind_is_found(book, table, column, value, rule):
    frame = getattr(book, table).astype({column: object}).reset_index(drop=True)
    frame.loc[3, column] = value
    assert re.search(f"{table}: {column} {rule}; 1 of .* row 3:", message(replace(book, **{table: frame})))


def test_missing_whole_numbers_are_refused_in_pandas_own_type(book):
    quantity = book.inventory["quantity_available"].astype("Int64")
    quantity.iloc[2] = pd.NA
    bad = replace(book, inventory=book.inventory.assign(quantity_available=quantity))
    assert "quantity_available must be a whole number, not missing; 1 of" in message(bad)


def test_balances_are_carried_to_the_day_asked_for():
    frame = pd.DataFrame({
        "trade_date": pd.to_datetime(["2025-01-02", "2025-01-02", "2025-01-06"]),
        "client_id": ["A", "B", "A"], "net_debit": [1.0, 2.0, 3.0]})  # fmt: skip
    assert list(tables.as_of(frame, "2025-01-05", ["client_id"])["net_debit"]) == [1.0, 2.0]
    assert tables.as_of(frame, "2025-01-06", ["client_id"]).set_index("client_id")["net_debit"].to_dict() == {
        "A": 3.0, "B": 2.0}  # fmt: skip


#: Smallest and largest value of each column of numbers, and its step, the last decimal or one.
EDGES = {
    "securities": {"round_lot": (1, None, 1), "average_daily_volume": (0, None, 1)},
    "closes": {"close": (0.0001, 1e7, 1e-4), "indicative_fee": (0, 200_000, 0.01)},
    "rates": {"benchmark_rate": (-1000, 20_000, 0.01), "funding_rate": (-1000, 20_000, 0.01)},
    "clients": {"markup": (0, 200_000, 0.01), "credit_limit": (0, None, None), "risk_weight": (0, 12.5, None)},
    "debits": {"net_debit": (0, None, None)},
    "pools": {"merit": (1, None, 1), "concentration_limit": (0.0001, 1, None)},
    "inventory": {"quantity_available": (0, None, 1), "borrow_fee": (0, 200_000, 0.01)},
    "positions": {"quantity": (0, None, 1)},
    "loans": {"quantity": (0, None, 1), "loan_fee": (0, 200_000, 0.01), "borrow_fee": (0, 200_000, 0.01),
              "rebate_rate": (-200_000, 20_000, 0.01)},
    "locates": {"quantity_requested": (1, None, 1), "quantity_approved": (0, None, 1), "quantity_shorted": (0, None, 1),
                "quantity_settled": (0, None, 1), "loan_fee": (0, 200_000, 0.01)},
}  # fmt: skip


@pytest.mark.parametrize(("table", "column"), [(table, column) for table in EDGES for column in EDGES[table]])
def test_the_edges_of_every_range_are_in_and_the_next_value_is_not(table, column):
    """A column alone. A ten-thousandth of the last decimal is the rounding of a file's number, more is a decimal."""
    rule, (low, high, step) = COLUMNS[table][column], EDGES[table][column]

    def fits(value):
        found = pd.Series([value]).astype(str(rule.dtype))
        return all(check(found).check_passed for check in rule.checks)

    beyond = 1e-9 if step is None else step
    assert fits(low) and not fits(low - beyond)
    if high is None:
        assert fits(10**15) and (str(rule.dtype) == "int64" or not fits(np.inf))
    else:
        assert fits(high) and not fits(high + beyond)
    if step not in (None, 1):
        for of_a_step, inside in ((0, True), (0.99e-4, True), (1.005e-4, False), (0.5, False), (0.1, False)):
            assert fits(10 + of_a_step * step) == fits(10 - of_a_step * step) == inside


def test_no_column_of_numbers_is_without_its_range():
    numbers = {(t, c) for t in COLUMNS for c in COLUMNS[t] if str(COLUMNS[t][c].dtype) in ("int64", "float64")}
    assert numbers == {(table, column) for table in EDGES for column in EDGES[table]}


def test_a_number_may_be_empty_where_its_description_says_so():
    for table, columns in COLUMNS.items():
        for name, column in columns.items():
            if str(column.dtype) in ("int64", "float64"):
                assert column.nullable == ("empty = " in column.description), f"{table}.{name}"
