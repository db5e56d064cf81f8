"""The generated book: what the module says about it, measured from its tables alone."""

import inspect
import re

import numpy as np
import pandas as pd
import pytest

from mmlib.stock_loan import _desk_limits, desk, sources
from mmlib.stock_loan._schemas import COLUMNS, POOL_TYPES
from mmlib.stock_loan.tables import as_of, signed_quantity


@pytest.fixture(scope="module")
def book():
    return desk.book(securities=300, days=90, clients=12, seed=11)


def test_the_shipped_sample_is_the_generators_output_to_the_byte(tmp_path):
    sources.write_csv(desk.book(**desk.SAMPLE), tmp_path)
    for name in [*COLUMNS, "rows"]:
        shipped = (sources.Path(sources.SAMPLE) / f"{name}.csv").read_bytes()
        assert (tmp_path / f"{name}.csv").read_bytes() == shipped, name


def test_the_defaults_are_those_of_the_line_in_the_text():
    line = re.search(r"desk\.book\((.*?)\)", desk.__doc__)[1]
    given = dict(part.split("=") for part in line.split(", "))
    defaults = inspect.signature(desk.book).parameters
    assert given == {name: str(defaults[name].default) for name in ("securities", "days", "clients", "seed")}


def test_another_seed_gives_another_book():
    first, second = (desk.book(20, 12, 4, seed=seed).closes["close"] for seed in (1, 2))
    assert not first.equals(second)


def test_buckets_have_the_stated_shares_and_fees(book):
    """258 + 24 + 18 names of 300. The mean log fee of m names has standard error spread/√m: allow four."""
    bucket = book.securities.set_index("security_id")["bucket"]
    assert bucket.value_counts().to_dict() == {"GC": 258, "warm": 24, "special": 18}
    first = book.closes[book.closes["trade_date"] == book.dates[0]].set_index("security_id")["indicative_fee"]
    for i, name in enumerate(["GC", "warm", "special"]):
        log_fee = np.log(first[bucket[bucket == name].index])
        error = desk.FEE_SPREAD[i] / np.sqrt(len(log_fee))
        assert abs(log_fee.mean() - np.log(desk.FEE_MEDIAN[i])) < 4 * error


def test_trade_dates_are_new_york_trading_days():
    """2025's closed weekdays, as the exchange published them."""
    closed = ["2025-01-01", "2025-01-20", "2025-02-17", "2025-04-18", "2025-05-26", "2025-06-19", "2025-07-04",
              "2025-09-01", "2025-11-27", "2025-12-25"]  # fmt: skip
    year = pd.bdate_range("2025-01-01", "2025-12-31")
    expected = year[~year.isin(pd.to_datetime(closed)) & (year != pd.Timestamp("2025-01-09"))]  # a day of mourning
    ours = desk.trade_dates("2025-01-01", 251)
    assert list(ours[ours != pd.Timestamp("2025-01-09")]) == list(expected)


def test_prices_are_fair_games_without_a_squeeze():
    """The mean of 500,000 returns is 0 within four standard errors, 1e-4, from the volatilities that the module states.

    Closes are rounded, by half a per cent of a dollar at most: that adds its variance, at most 1e-5 and mostly nothing.
    """
    dates = desk.trade_dates("2025-01-02", 251)
    frames, path = desk.market(np.random.default_rng(5), dates, 2000, False)
    close = frames["closes"]["close"].to_numpy().reshape(251, 2000)
    returns = close[1:] / close[:-1] - 1
    daily = np.array([0.015, 0.022, 0.04])[path["bucket"]]
    assert abs(returns.mean()) < 4 * np.sqrt((daily**2).mean() / returns.size)


def test_locates_shrink_from_requested_to_settled_and_convert_below_one(book):
    q = book.locates
    conversion = q["quantity_shorted"].sum() / q["quantity_approved"].sum()
    assert 0.35 < conversion < 0.55  # mean 0.45 by design; the sum of thousands of lumpy requests stays near
    assert (q["quantity_settled"] <= q["quantity_shorted"]).all()
    last = q["trade_date"] == book.dates[-1]
    assert q.loc[last, "quantity_settled"].sum() == 0  # settles tomorrow
    assert q.loc[~last, "quantity_settled"].sum() > 0.9 * q.loc[~last, "quantity_shorted"].sum()


def test_nobody_borrows_the_shares_it_owns(book):
    """Neither margin longs nor the fully paid shares, which are the longs of a cash account."""
    longs = book.positions.query("side == 'long' and account == 'cash'")["client_id"].unique()
    owner = book.pools.set_index("pool_id")["client_id"]
    owner[book.pools.loc[book.pools["pool_type"] == "fully paid", "pool_id"]] = longs.item()
    assert (owner != "").sum() >= 3
    assert not (book.loans["client_id"] == book.loans["pool_id"].map(owner)).any()


def test_what_settles_today_was_sold_short_yesterday(book):
    """Every locate that settled is behind new loans of the same client and name on the next trade date."""
    lane = ["trade_date", "client_id", "security_id"]
    new = book.loans[book.loans["event"] == "new"].groupby(lane)["quantity"].sum()
    following = dict(zip(book.dates[:-1], book.dates[1:], strict=True))
    settled = book.locates[book.locates["quantity_settled"] > 0]
    settled = settled.assign(trade_date=settled["trade_date"].map(following)).groupby(lane)["quantity_settled"].sum()
    assert (new.reindex(settled.index) >= settled).all()


def test_client_demand_falls_from_monday_to_friday():
    """Poisson counts: Monday and Friday differ by 30 % of the mean, five standard errors of 20 weeks' sums."""
    q = desk.book(200, 100, 4, seed=5, squeeze=False).locates
    weekday = (
        q.groupby(q["trade_date"].dt.day_of_week).size()
        / q.groupby(q["trade_date"].dt.day_of_week)["trade_date"].nunique()
    )
    assert weekday[0] > weekday[2] > weekday[4]


def _wanted(book, date):
    """Shares on loan at a fee at the close of a day, by name and pool."""
    until = book.loans[book.loans["trade_date"] <= date]
    until = until.assign(balance=signed_quantity(until)).groupby("loan_id")
    loans = until[["security_id", "pool_id", "loan_fee"]].last().assign(balance=until["balance"].sum())
    loans = loans[loans["loan_fee"] > 0]
    return loans.pivot_table(index="security_id", columns="pool_id", values="balance", aggfunc="sum", fill_value=0)


def _shares(book, date):
    """Shares free or on loan at the close of a day, by name and pool."""
    free = as_of(book.inventory, date, ["security_id", "pool_id"]).set_index(["security_id", "pool_id"])
    until = book.loans[book.loans["trade_date"] <= date]
    lent = signed_quantity(until).groupby([until["security_id"], until["pool_id"]]).sum()
    shares = free["quantity_available"].add(lent, fill_value=0).rename("shares").reset_index()
    return shares.pivot_table(index="security_id", columns="pool_id", values="shares", fill_value=0)


def test_no_lender_is_above_its_part_of_a_name_on_any_day(book):
    """Straight from the tables: a pool's loans that clients pay for, against its part of all of them in the name."""
    part = book.pools.set_index("pool_id")["concentration_limit"]
    assert (part < 1).sum() == 3
    near = 0
    for date in book.dates[::9]:
        lent, shares = _wanted(book, date), _shares(book, date)
        for pool in part.index[part < 1].intersection(lent.columns):
            others = shares.drop(columns=pool).sum(axis=1).reindex(lent.index, fill_value=0) > 0
            most = part[pool] * lent.sum(axis=1)
            assert (lent[pool][others] <= most[others]).all(), (date, pool)
            near += (lent[pool][others] > most[others] - 100).sum()
    assert near > 50  # the limit is met often enough for the test to see it


def _ledger(balance, pool, touched=0):
    columns = {"balance": balance, "pool": pool, "security": 0, "covered": 0, "touched": touched}
    return {name: np.array(np.broadcast_to(column, len(balance))) for name, column in columns.items()}


@pytest.mark.parametrize(("other", "left"), [(False, [900, 100]), (True, [0, 100])])
def test_a_lender_alone_in_a_name_is_not_limited(other, left):
    """900 of 1,000 shares from a pool limited to three quarters: allowed if no other pool has any. The other 100 are
    from a recalled loan. If another pool has shares but lends none, only 0 is three quarters of what is lent."""
    ledger = _ledger([900, 100], [0, 0])
    limits = _desk_limits.Limits(ledger, np.array([1]), np.array([[True, other]]), np.array([0.75, 1.0]))
    nothing = np.zeros(0, dtype=np.int64)
    limits.over(nothing, nothing)
    _, back = limits.enforce(nothing, nothing, nothing, nothing)
    assert list(ledger["balance"] - back) == left


def test_what_is_above_a_limit_comes_from_other_pools_first():
    """1,000 shares, 900 from a pool limited to three quarters: 200 must move (700 of 1,000 is the largest number of
    round lots within 750); if only 100 can, 800 + 200 shares are left, of which 200 more must go: 600 of 800."""
    ledger = _ledger([100, 900], [1, 0])
    limits = _desk_limits.Limits(ledger, np.zeros(0, dtype=np.int64), np.array([[True, True]]), np.array([0.75, 1.0]))
    nothing = np.zeros(0, dtype=np.int64)
    loans, part = limits.over(nothing, nothing)
    assert (list(loans), list(part), list(limits.headroom[0][:1])) == ([1], [200], [0])
    one = np.array([0])
    _, back = limits.enforce(one, one + 1, one + 200, one + 1)
    assert list(ledger["balance"] - back) == [100, 700]
    quantity, back = limits.enforce(one, one + 1, one + 100, one + 1)
    assert list(quantity) == [100]
    assert list(ledger["balance"] - back) == [100, 600]


def test_nothing_may_be_borrowed_from_a_pool_that_stays_above_its_limit():
    """900 of 1,000 shares from a pool limited to three quarters, in a loan that has had its event of the day."""
    ledger = _ledger([100, 900], [1, 0], [0, 1])
    limits = _desk_limits.Limits(ledger, np.zeros(0, dtype=np.int64), np.array([[True, True]]), np.array([0.75, 1.0]))
    nothing = np.zeros(0, dtype=np.int64)
    loans, part = limits.over(nothing, nothing)
    assert (len(loans), len(part), limits.headroom[0][0]) == (0, 0, 0)


def test_the_newest_loans_go_first_and_one_that_had_a_partial_return_goes_whole():
    """Loans of 300, 300 and 300 from the limited pool and 100 from another: 300 at most may stay."""
    for touched, left in (([0, 0, 0, 0], [300, 0, 0, 100]), ([0, 0, 1, 0], [300, 0, 0, 100])):
        ledger = _ledger([300, 300, 300, 100], [0, 0, 0, 1], touched)
        limits = _desk_limits.Limits(ledger, np.zeros(0, int), np.array([[True, True]]), np.array([0.75, 1.0]))
        nothing = np.zeros(0, dtype=np.int64)
        _, back = limits.enforce(nothing, nothing, nothing, nothing)
        assert list(ledger["balance"] - back) == left
    ledger = _ledger([500, 200], [0, 1], [1, 0])  # 500 of 700 is within; 500 + 100 new from pool 0 is not
    limits = _desk_limits.Limits(ledger, np.zeros(0, int), np.array([[True, True]]), np.array([0.5, 1.0]))
    one = np.array([0])
    quantity, back = limits.enforce(one, one, one + 100, one - 1)
    assert (list(quantity), list(ledger["balance"] - back)) == ([0], [0, 200])


def test_specials_bring_about_a_third_of_the_fees_though_they_are_few_of_the_loans():
    """Sums over loans and days with Python's floats, over three books: the tail of the fees moves a single one."""
    fees, paid, value = (pd.Series(0.0, index=["GC", "warm", "special"]) for _ in range(3))
    for seed in range(3):
        b = desk.book(securities=300, days=15, clients=8, seed=seed)
        d = b.loans.assign(balance=signed_quantity(b.loans))
        d = (
            d.pivot_table(index="trade_date", columns="loan_id", values="balance", aggfunc="sum")
            .reindex(b.dates)
            .fillna(0)
            .cumsum()
        )
        loans = b.loans.drop_duplicates("loan_id").set_index("loan_id")
        close = b.closes.pivot_table(index="trade_date", columns="security_id", values="close")
        dollars = (d * close[loans.loc[d.columns, "security_id"]].to_numpy()).sum()
        bucket = loans["security_id"].map(b.securities.set_index("security_id")["bucket"]).reindex(d.columns)
        fees += (dollars * loans.loc[d.columns, "loan_fee"]).groupby(bucket).sum()
        paid += (dollars * loans.loc[d.columns, "borrow_fee"]).groupby(bucket).sum()
        value += dollars.groupby(bucket).sum()
    assert value["special"] / value.sum() < 0.08
    assert 0.25 < fees["special"] / fees.sum() < 0.45
    assert 0.35 < paid["special"] / paid.sum() < 0.55


def test_more_is_sold_short_than_can_be_borrowed_now_and_then(book):
    """Approved beyond what is free, and in some names on some days more is wanted than there is."""
    q = book.locates
    short = q.groupby(["trade_date", "security_id"])[["quantity_shorted", "quantity_settled"]].sum()
    short = short[short.index.get_level_values(0) < book.dates[-1]]
    assert 0.01 < (short["quantity_settled"] < short["quantity_shorted"]).mean() < 0.15
    found = 0
    for date in book.dates[10:80:10]:
        wanted, shares = _wanted(book, date).sum(axis=1), _shares(book, date).sum(axis=1)
        today = q[q["trade_date"] == date].groupby("security_id")["quantity_shorted"].sum()
        wanted = wanted.add(today, fill_value=0)
        found += (wanted > shares.reindex(wanted.index, fill_value=0)).any()
    assert found >= 3


def test_loans_come_in_merit_order(book):
    """A later pool is used only when every earlier one that may serve the client is empty in that name at the close,
    unless a limit keeps it shut: rehypothecation pools (140 %) and limited lenders are left out of the comparison."""
    merit = book.pools.set_index("pool_id")["merit"]
    eligible = set(book.eligibility.itertuples(index=False, name=None))
    date = book.dates[40]
    free = as_of(book.inventory, date, ["security_id", "pool_id"])
    limited = book.pools.query("concentration_limit < 1")["pool_id"]
    free = free[(free["quantity_available"] > 0) & ~free["pool_id"].str.startswith("RHY")]
    free = free[~free["pool_id"].isin(limited)]
    first = {(r.security_id, r.pool_id) for r in free.itertuples()}
    new = book.loans[(book.loans["trade_date"] == date) & (book.loans["event"] == "new")]
    assert len(new) > 10
    returned = book.loans[(book.loans["trade_date"] == date) & ~book.loans["event"].isin(["new", "re-rate", "recall"])]
    touched = set(zip(returned["security_id"], returned["pool_id"], strict=True))
    for loan in new.itertuples():
        for pool, rank in merit.items():
            if rank < merit[loan.pool_id] and (pool, loan.client_id) in eligible and (loan.security_id, pool) in first:
                assert (loan.security_id, pool) in touched


def test_new_loans_keep_the_140_percent_rule_on_their_day(book):
    """From the tables: value lent out of a margin client's pool <= 1.4 × debit after a day's new loans."""
    close = book.closes.set_index(["trade_date", "security_id"])["close"]
    for pool in book.pools[book.pools["pool_type"] == "rehypothecation"].itertuples():
        events = book.loans[book.loans["pool_id"] == pool.pool_id]
        for date in events.loc[events["event"] == "new", "trade_date"].unique()[::8]:
            until = events[events["trade_date"] <= date]
            held = signed_quantity(until).groupby(until["security_id"]).sum()
            value = (held * close[date].reindex(held.index)).sum()
            debit = as_of(book.debits, date, ["client_id"]).set_index("client_id")["net_debit"][pool.client_id]
            assert value <= 1.4 * debit


def test_pools_never_lend_more_of_a_name_than_they_hold_when_they_lend(book):
    """Margin longs are positions: on a Monday, what the client's pool lends is within the position of that day."""
    pool = book.pools[book.pools["pool_type"] == "rehypothecation"].iloc[0]
    longs = book.positions[(book.positions["client_id"] == pool["client_id"]) & (book.positions["side"] == "long")
                           & (book.positions["account"] == "margin")]  # fmt: skip
    first = longs[longs["trade_date"] == book.dates[0]].set_index("security_id")["quantity"]
    new = book.loans[(book.loans["pool_id"] == pool["pool_id"]) & (book.loans["trade_date"] == book.dates[0])]
    lent = new.groupby("security_id")["quantity"].sum()
    assert (lent <= first.reindex(lent.index)).all()
    assert len(lent) > 0


def test_recalls_end_within_three_trade_days_in_a_return_or_a_buy_in(book):
    place = {date: i for i, date in enumerate(book.dates)}
    recalls = book.loans[book.loans["event"] == "recall"]
    ends = book.loans[book.loans["event"].isin(["return", "buy-in"])].groupby("loan_id")["trade_date"].max()
    old = recalls[recalls["trade_date"] <= book.dates[-4]]
    wait = ends.reindex(old["loan_id"]).map(place).to_numpy() - old["trade_date"].map(place).to_numpy()
    assert len(old) > 50
    assert ((wait >= 1) & (wait <= 3)).all()


def test_the_squeeze_raises_price_and_fee_of_one_special():
    """Same seed with and without: one name differs in price, by a factor of about four at the peak."""
    calm, squeezed = (desk.book(60, 60, 6, seed=4, squeeze=on) for on in (False, True))
    price = [b.closes.set_index(["trade_date", "security_id"])["close"] for b in (calm, squeezed)]
    ratio = (price[1] / price[0]).groupby("security_id").max()
    (name,) = ratio.index[ratio > 1.01]
    assert 3.9 < ratio[name] < 4.1
    assert calm.securities.set_index("security_id")["bucket"][name] == "special"
    fee = [b.closes[b.closes["security_id"] == name]["indicative_fee"].max() for b in (calm, squeezed)]
    assert 5 < fee[1] / fee[0] <= 12.1


def test_more_is_recalled_and_bought_in_of_the_squeezed_name():
    """Shares in the weeks of the squeeze, over three pairs of books of the same seed: a single name has few recalls."""
    moved = np.zeros((2, 2))
    for seed in (4, 5, 7):
        pair = [desk.book(20, 40, 6, seed=seed, squeeze=on) for on in (False, True)]
        close = [b.closes.set_index(["trade_date", "security_id"])["close"] for b in pair]
        name = (close[1] / close[0]).groupby("security_id").max().idxmax()
        for i, b in enumerate(pair):
            events = b.loans[(b.loans["security_id"] == name) & b.loans["trade_date"].isin(b.dates[16:26])]
            shares = events.groupby("event")["quantity"].sum()
            moved[i] += shares.get("recall", 0), shares.get("buy-in", 0)
    assert (moved[1] > moved[0]).all()


def test_short_positions_are_the_loans_less_the_over_borrow(book):
    """Over-borrows are the loans at no fee: loans to a client − its short = those, on any day, in every name."""
    date = book.dates[50]
    until = book.loans[book.loans["trade_date"] <= date]
    balance = signed_quantity(until).groupby([until["client_id"], until["security_id"], until["loan_id"]]).sum()
    fee = until.groupby(["client_id", "security_id", "loan_id"])["loan_fee"].last()
    needed = balance[fee > 0].groupby(["client_id", "security_id"]).sum()
    shorts = as_of(book.positions[book.positions["side"] == "short"], date, ["client_id", "security_id"])
    shorts = shorts.set_index(["client_id", "security_id"])["quantity"]
    index = needed.index.union(shorts.index)
    assert (needed.reindex(index, fill_value=0) == shorts.reindex(index, fill_value=0)).all()
    assert balance[fee == 0].sum() > 0


def test_pools_are_in_the_merit_order_of_the_schema(book):
    assert all(book.pools["merit"] == book.pools["pool_type"].map({kind: i + 1 for i, kind in enumerate(POOL_TYPES)}))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"securities": 5}, "securities must be an integer and >= 20 and <= 5000"),
        ({"days": 3}, "days must be an integer and >= 10"),
        ({"clients": 2}, "clients must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_sizes_out_of_range_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        desk.book(**arguments)
