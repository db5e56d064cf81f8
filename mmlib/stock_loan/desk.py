"""A prime broker's stock-loan desk, generated: the market, the clients, the pools, and what happens day by day.

    >>> book = desk.book(securities=200, days=60, clients=12, seed=7)     # a tables.Book

What is assumed, and why (no public data set shows a desk's whole book):

- **Who is special.** 86 % of the names are GC (about 30 bp a year), 8 % warm (about 120 bp), 6 % special (median
  400 bp, with a long tail). D'Avolio (2002, J. Financial Economics 66, 271–306) found 91 % of names under 1 % a year,
  the other 9 % at 4.3 % on average; lists that retail brokers publish are dearer: they include the smallest names.
- **Who earns what.** A few specials bring much of the revenue: on large books they are about 4 % of the value on loan,
  a third of what clients pay and somewhat under half of what pools are paid. DataLend (EquiLend, for April 2023, a
  strong month) counts half: 525 of 1,050 million dollars from loans at 500 bp or more; the smaller part here stands for
  an ordinary month and is an assumption. Clients pay 2 to 25 bp over the market's fee, so GC earns a thin spread.
- **Supply** is scarce exactly where fees are high: five times the desk's demand in GC, 1.8 times in warm names, 0.9 in
  specials. Pools stand in merit order: the firm's own longs; each margin client's longs, within 140 % of that
  client's debit (SEC rule 15c3-3); fully paid shares; an exclusive; two agent lenders; the street. The later the pool,
  the more of the fee it keeps.
- **No lender is most of a name**: agent lenders and the street lend at most 75 % of what clients have on loan in a name
  in which another pool has shares. Where returns leave more, the desk takes the newest loans from other pools the same
  day, and what these cannot give the client covers.
- **Locates** are requested by day and name; about 45 % of what is approved is sold short and settles the next day, so
  the desk approves up to 1.5 times what is free, and now and then more is sold short than can be borrowed.
  Mondays are busier than Fridays; in the last five days of a quarter lenders pull a tenth of their supply and the
  benchmark rises by 12 bp on the last. Loans last 12 to 20 trading days on average. One return in six leaves the
  borrow on the desk's book for two days at no fee: an over-borrow.
- **Recalls** come when a pool's supply shrinks below what it has lent, and at random from outside lenders. After three
  days they are covered from another pool or bought in.
- **A squeeze**, from 40 % to 65 % of the days, in the special nearest the median fee: demand ×4, the price up to ×4,
  the fee up to ×12, outside supply cut by 60 %.

`market` makes prices and rates, `_desk_flow` the loans and locates from them; both draw from one generator, so a seed
fixes every byte.
"""

import numpy as np
import pandas as pd
from pandas.tseries import holiday

from mmlib import checks
from mmlib.stock_loan import _desk_flow, tables
from mmlib.stock_loan._schemas import POOL_TYPES

SECTORS = ("communication", "consumer goods", "energy", "financials", "health", "industrials", "information",
           "materials", "real estate", "retail", "utilities")  # fmt: skip
#: By bucket GC, warm, special.
SHARE = np.array([0.86, 0.08, 0.06])
FEE_MEDIAN, FEE_SPREAD = np.array([30.0, 120.0, 400.0]), np.array([0.15, 0.35, 0.6])
VOLATILITY = np.array([0.015, 0.022, 0.04])  # of the close, per trading day
DEMAND = 2e6  # dollars of a name that clients usually want, median
FEE_VOLATILITY = np.array([0.0, 0.03, 0.07])  # of the logarithm of the fee, per trading day, reverting by 3 % a day
#: The sample shipped in data/stock_loan.
SAMPLE = {"securities": 80, "days": 64, "clients": 8, "seed": 20250826, "start": "2025-08-18"}


def book(securities=200, days=60, clients=12, seed=7, start="2025-08-18", squeeze=True):
    """A generated book that passes `tables.check`.

    Parameters
    ----------
    securities, days, clients : int
        Sizes: 20–5,000 names, 10–2,000 trading days, 3–100 clients.
    seed : int
        Seed of the one generator behind every draw.
    start : str or date
        First day; the first trade date is the next weekday that is not a New York holiday.
    squeeze : bool
        Whether that one special is squeezed.

    Returns
    -------
    tables.Book

    Raises
    ------
    ValueError
        If an argument is outside its range.
    """
    n = checks.integer("securities", securities, 20, 5_000, "number of names")
    days = checks.integer("days", days, 10, 2_000, "number of trading days")
    clients = checks.integer("clients", clients, 3, 100, "number of clients")
    rng = np.random.default_rng(checks.integer("seed", seed, 0, meaning="seed of the generator"))
    dates = trade_dates(start, days)
    frames, path = market(rng, dates, n, squeeze)
    people, lanes = parties(rng, n, clients, path)
    frames |= people
    frames |= _desk_flow.run(rng, dates, frames, path, lanes)
    return tables.check(tables.Book(**frames))


def trade_dates(start, days):
    """The first `days` New York trading days from `start` on, a DatetimeIndex."""
    fixed = (("juneteenth", 6, 19), ("independence", 7, 4), ("christmas", 12, 25))
    rules = [holiday.Holiday(name, month=m, day=d, observance=holiday.nearest_workday) for name, m, d in fixed]
    rules += [holiday.Holiday("new year", month=1, day=1, observance=holiday.sunday_to_monday)]
    rules += [holiday.USMartinLutherKingJr, holiday.USPresidentsDay, holiday.GoodFriday, holiday.USMemorialDay]
    rules += [holiday.USLaborDay, holiday.USThanksgivingDay]
    calendar = holiday.AbstractHolidayCalendar("New York", rules)
    first = pd.Timestamp(start)
    closed = calendar.holidays(first, first + pd.Timedelta(days=2 * days + 30))
    closed = closed.to_numpy().astype("datetime64[D]")
    return pd.bdate_range(first, periods=days, freq="C", holidays=list(closed)).as_unit("us")


def market(rng, dates, n, squeeze):
    """Names, closes, fees and rates.

    Returns
    -------
    frames : dict
        The tables `securities`, `closes`, `rates`.
    path : dict
        Arrays the desk trades on: bucket (n,), price (days, n), fee (days, n), demand (n,) in shares, `rush` (days, n)
        the multiple of usual demand, `pull` (days, n) the share of outside supply that is left.
    """
    days = len(dates)
    bucket = rng.permutation(np.searchsorted(np.cumsum(SHARE), (np.arange(n) + 0.5) / n))
    price = rng.lognormal(3.6, 0.8, n) * np.exp(
        np.cumsum(rng.normal(size=(days, n)) * VOLATILITY[bucket] - VOLATILITY[bucket] ** 2 / 2, axis=0)
    )
    level = np.log(FEE_MEDIAN[bucket]) + FEE_SPREAD[bucket] * rng.normal(size=n)
    noise, deviation = rng.normal(size=(days, n)) * FEE_VOLATILITY[bucket], np.zeros((days, n))
    for t in range(1, days):
        deviation[t] = 0.97 * deviation[t - 1] + noise[t]
    fee = np.exp(level + deviation)
    rush = np.ones((days, n)) * np.array([1.15, 1.05, 1.0, 0.95, 0.85])[dates.day_of_week][:, None]
    pull = np.ones((days, n))
    quarter_end, last_of_quarter = _quarter_end(dates)
    pull[quarter_end] = 0.9
    if squeeze:
        usual = np.where(bucket == 2, np.abs(level - np.log(FEE_MEDIAN[2])), np.inf)
        _squeeze(np.argmin(usual), price, fee, rush, pull)
    price, fee = np.where(price >= 1, np.round(price, 2), np.round(price, 4)), np.round(fee, 2)
    benchmark = np.round(430 - 0.15 * np.arange(days) + 12 * last_of_quarter + rng.integers(-2, 3, days), 2)
    value = DEMAND * rng.lognormal(0, 1.2, n)
    demand = np.maximum(1, np.round(value / price[0] / 100)).astype(np.int64) * 100
    volume = np.round(demand * rng.uniform(0.5, 20, n) / 100).astype(np.int64) * 100
    ids = np.array([f"S{i:04d}" for i in range(n)])
    letters = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    code = (np.arange(n) * 7919 + 4242) % 26**4
    symbols = ["".join(letters[code_i // 26 ** np.arange(4) % 26]) for code_i in code]
    frames = {
        "securities": pd.DataFrame({
            "security_id": ids, "symbol": symbols, "sector": np.array(SECTORS)[rng.integers(0, len(SECTORS), n)],
            "bucket": np.array(["GC", "warm", "special"])[bucket], "round_lot": 100, "average_daily_volume": volume}),
        "closes": pd.DataFrame({
            "trade_date": np.repeat(dates, n), "security_id": np.tile(ids, days), "close": price.ravel(),
            "indicative_fee": fee.ravel()}),
        "rates": pd.DataFrame({
            "trade_date": dates, "benchmark_rate": benchmark, "funding_rate": benchmark + 35.0}),
    }  # fmt: skip
    return frames, {"bucket": bucket, "price": price, "fee": fee, "demand": demand, "rush": rush, "pull": pull}


def _quarter_end(dates):
    """Which trade dates are among the last five of a quarter, and which are the last."""
    quarter = np.asarray(dates.year * 4 + dates.quarter)
    following = dates + pd.offsets.BDay(1)
    last = np.asarray(following.year * 4 + following.quarter) != quarter
    fifth = dates + pd.offsets.BDay(5)
    return np.asarray(fifth.year * 4 + fifth.quarter) != quarter, last


def _squeeze(name, price, fee, rush, pull):
    """Four times the demand, up to four times the price and twelve times the fee, and lenders that want shares back."""
    days = len(price)
    first, last = int(0.4 * days), int(0.65 * days)
    shape = np.sin(np.pi * np.arange(1, last - first + 1) / (last - first + 1))  # 0 -> 1 -> 0
    price[first:last, name] *= 4**shape
    fee[first:last, name] *= 12**shape
    rush[first:last, name] *= 4
    pull[first:last, name] *= 0.4


def parties(rng, n, clients, path):
    """Clients, pools, who may borrow from which, and each lane's supply, price and terms.

    Returns
    -------
    frames : dict
        The tables `clients`, `pools`, `eligibility`.
    lanes : dict
        margin: the clients behind pools 1, 2, …; outside (K,) whether a pool may recall at will; held (n, K) whether it
        has the name; supply (n, K) shares at the start; cut (K,) the pool's part of the fee; eligible (clients, K);
        weight (clients,) of the demand; markup (clients,) bp.
    """
    brokers, makers = max(1, clients // 8), max(1, clients // 6)
    kind = np.array(["hedge fund"] * (clients - brokers - makers) + ["market maker"] * makers + ["broker"] * brokers)
    margin = np.flatnonzero(kind == "hedge fund")[: max(1, clients // 3)]
    weight = rng.dirichlet(np.full(clients, 2.0))
    markup = np.round(np.where(kind == "hedge fund", rng.uniform(5, 25, clients), rng.uniform(2, 8, clients)), 0)
    client_ids = np.array([f"C{i + 1:02d}" for i in range(clients)])

    kinds = ["internal"] + ["rehypothecation"] * len(margin) + list(POOL_TYPES[2:4]) + ["agent lender"] * 2 + ["street"]
    pool_ids = np.array(["INT", *(f"RHY-{client_ids[a]}" for a in margin), "FPL", "EXC", "AL1", "AL2", "STR"])
    K, m = len(kinds), len(margin)
    owner = np.concatenate([[-1], margin, [-1] * 5])
    cut = np.concatenate([[0.0], np.zeros(m), [0.5, 0.6, 0.75, 0.8, 0.93]])
    chance = np.concatenate([[0.4], np.full(m, 0.25), [0.3, 0.35, 0.9, 0.7, 1.0]])
    size = np.concatenate([[0.15], np.full(m, 0.8 / m), [0.1, 0.2, 0.5, 0.35, 0.3]])
    held = rng.random((n, K)) < chance
    scarcity = np.array([5.0, 1.8, 0.9])[path["bucket"]]
    part = size * held * rng.lognormal(0, 0.5, (n, K))
    part /= part.sum(axis=1, keepdims=True)
    supply = np.round(part * (scarcity * path["demand"])[:, None] / 100).astype(np.int64) * 100
    eligible = np.ones((clients, K), dtype=bool)
    # brokers get only what agent lenders and the street have
    eligible[np.ix_(kind == "broker", ~np.isin(kinds, ["agent lender", "street"]))] = False
    eligible[np.ix_(kind == "market maker", np.isin(kinds, ["exclusive"]))] = False
    # nobody borrows the shares it owns; the fully paid ones are the last margin client's
    eligible[owner[owner >= 0], np.flatnonzero(owner >= 0)] = False
    eligible[margin[-1], 1 + m] = False
    rank = {name: i + 1 for i, name in enumerate(POOL_TYPES)}
    pairs = np.argwhere(eligible.T)
    total = (path["demand"] * path["price"][0]).sum()
    limit = np.where(np.isin(kinds, ["agent lender", "street"]), 0.75, 1.0)
    frames = {
        "clients": pd.DataFrame({
            "client_id": client_ids, "client_type": kind, "markup": markup,
            "credit_limit": np.round(2.5 * weight * total, -5) + 1e6,
            "risk_weight": np.where(kind == "hedge fund", 1.0, 0.2)}),
        "pools": pd.DataFrame({
            "pool_id": pool_ids, "pool_type": kinds, "merit": [rank[k] for k in kinds],
            "client_id": ["" if a < 0 else client_ids[a] for a in owner],
            "concentration_limit": limit}),
        "eligibility": pd.DataFrame({"pool_id": pool_ids[pairs[:, 0]], "client_id": client_ids[pairs[:, 1]]}),
    }  # fmt: skip
    lanes = {"outside": np.arange(K) >= K - 3, "supply": supply, "cut": cut, "eligible": eligible,
             "weight": weight, "markup": markup, "margin": margin, "held": held, "limit": limit}  # fmt: skip
    return frames, lanes
