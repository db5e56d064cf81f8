"""The generated book: what the module says about it, measured from its tables alone."""

import numpy as np
import pandas as pd
import pytest

from mmlib.stock_loan import desk, sources
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


def test_loans_come_in_merit_order(book):
    """A later pool is used only when every earlier one that may serve the client is empty in that name at the close,
    unless the 140 % rule keeps a rehypothecation pool shut: those are left out of the comparison."""
    merit = book.pools.set_index("pool_id")["merit"]
    eligible = set(book.eligibility.itertuples(index=False, name=None))
    date = book.dates[40]
    free = as_of(book.inventory, date, ["security_id", "pool_id"])
    free = free[(free["quantity_available"] > 0) & ~free["pool_id"].str.startswith("RHY")]
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


def test_the_squeeze_raises_price_fee_and_recalls_of_one_special():
    """Same seed with and without: one name differs in price, by a factor of about four at the peak."""
    calm, squeezed = (desk.book(60, 60, 6, seed=4, squeeze=on) for on in (False, True))
    price = [b.closes.set_index(["trade_date", "security_id"])["close"] for b in (calm, squeezed)]
    ratio = (price[1] / price[0]).groupby("security_id").max()
    (name,) = ratio.index[ratio > 1.01]
    assert 3.9 < ratio[name] < 4.1
    assert calm.securities.set_index("security_id")["bucket"][name] == "special"
    fee = [b.closes[b.closes["security_id"] == name]["indicative_fee"].max() for b in (calm, squeezed)]
    assert 5 < fee[1] / fee[0] <= 12.1
    recalled = [((b.loans["event"] == "recall") & (b.loans["security_id"] == name)).sum() for b in (calm, squeezed)]
    assert recalled[1] > recalled[0]


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
