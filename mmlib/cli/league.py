"""Models side by side: simulated on the same random numbers, or replayed through the same events."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from pandas import DataFrame

from mmlib import risk
from mmlib.chapter import shown, table, uncertain
from mmlib.checks import nonnegative, number, positive
from mmlib.cli import models

MINUTE = 60  # seconds of the profits whose Sharpe ratio and distribution are shown
MS, BP = 1_000_000, 1e-4
STEP = 100 * MS  # between decisions, ns
MOST_FILLS = 1e10  # to simulate: minutes that no signal ends
LONGEST = 60_000  # latency, ms: the room for what is on its way grows with it


class Path(NamedTuple):
    """One path: times, the mid (price), inventory (orders), profit (currency), each of shape (n,)."""

    time: np.ndarray
    mid: np.ndarray
    inventory: np.ndarray
    profit: np.ndarray


class League(NamedTuple):
    """A table, a row a model (or a quantity); by model a path, and the profits whose law is drawn."""

    title: str
    table: DataFrame
    paths: dict[str, Path]
    profits: dict[str, np.ndarray]
    time: str
    profit: str


class Rules(NamedTuple):
    """How a replay runs: steps of prices and sizes or None, ns, name of the queue, shares of the value."""

    tick: float | None
    lot: float | None
    latency: int
    queue: str
    maker_fee: float
    taker_fee: float


def rules(tick: float | None, lot: float | None, latency: float, queue: str, fee: float, taker_fee: float) -> Rules:
    """Checked `Rules`, from ms and bp."""
    from mmlib.checks import choice
    from mmlib.order_book.replay import QUEUES

    steps = [None if value is None else positive(name, value) for name, value in (("tick", tick), ("lot", lot))]
    if not nonnegative("latency", latency, "ms") <= LONGEST:
        raise ValueError(f"latency must be <= {LONGEST} (ms); got {latency!r}")
    wait = round(latency * MS)
    fees = [number(name, value, "bp of the value") * BP for name, value in (("fee", fee), ("taker_fee", taker_fee))]
    return Rules(steps[0], steps[1], wait, choice("queue", queue, tuple(QUEUES)), fees[0], fees[1])


def estimate(value: float, error: float) -> str:
    """A number with its standard error in its last digits; by itself where the error is 0 or not known."""
    return uncertain(value, error) if 0 < error < float("inf") else shown(float(value))


def of_sample(outcome: Any) -> Path:
    """The first simulated path that was recorded."""
    s = outcome.sample
    return Path(s.times, s.mid[0], s.inventory[0], s.wealth[0] - s.wealth[0][0])


def market_of(given: dict[str, Any], paths: int) -> Any:
    """The model market with what was given; refused if its fills are too many to simulate."""
    from mmlib.market_making import Market

    A, horizon = (
        given.get(name, default) for name, default in (("A", models.MARKET["A"]), ("horizon", models.COMMON["horizon"]))
    )
    if A * horizon * paths > MOST_FILLS:
        raise ValueError(f"A · horizon · paths must be <= {MOST_FILLS:.0e} (fills); got {A:g} · {horizon:g} · {paths}")
    return Market(**{name: given.get(name, value) for name, value in models.MARKET.items()})


def in_the_model(names: list[str], given: dict[str, Any], paths: int, seed: int) -> League:
    """Each model's quotes in one market, simulated on the same random numbers."""
    from mmlib.market_making import simulate

    market = market_of(given, paths)
    quotes = {name: models.quotes(name, market, given) for name in names}
    found = {name: simulate.run(market, q, paths, seed, "continuous", sample_paths=1) for name, q in quotes.items()}
    rows = {
        "profit": lambda o: risk.mean(o.profit), "Sharpe": _sharpe, "drawdown": lambda o: risk.mean(o.drawdown),
        "trades": lambda o: risk.mean(o.bid_fills + o.ask_fills), "spread": lambda o: risk.mean(o.spread),
        "revaluation": lambda o: risk.mean(o.revaluation), "tolls": lambda o: risk.mean(o.tolls),
        "inventory std": lambda o: risk.std(o.inventory),
    }  # fmt: skip
    columns = {name: [estimate(*of(outcome)) for outcome in found.values()] for name, of in rows.items()}
    title = f"{_told(market)}; {paths:,} paths, standard errors in the last digits"
    profits = {name: outcome.profit for name, outcome in found.items()}
    drawn = {name: of_sample(outcome) for name, outcome in found.items()}
    return League(title, table({"": names} | columns), drawn, profits, "time", "profit of a path")


def _sharpe(outcome):
    return risk.sharpe(outcome.profit) if np.ptp(outcome.profit) > 0 else (np.nan, np.nan)


def on_data(names: list[str], given: dict[str, Any], pair: tuple[str, str] | None, capture: Any, how: Rules) -> League:
    """Each model's quotes, in the market that is calibrated to the events unless given, replayed through them."""
    from mmlib.order_book import binance, lobster, replay, sources, toxicity

    events = lobster.read(*pair) if pair else binance.read_capture(capture)
    tick, lot = (own or fits for own, fits in zip((how.tick, how.lot), sources.steps(events), strict=True))
    sizes = toxicity.prints(events)["size"].to_numpy(float)
    if not len(sizes):
        raise ValueError("events must have a trade at least; they have none")
    size = positive("size", given.get("size", max(round(float(np.median(sizes)) / lot), 1) * lot), "units of an order")
    start, end = sources.period(events)
    market = calibrated(events, given, tick, start, end)
    quotes = {name: models.quotes(name, market, given, end - start) for name in names}
    feed = replay.feed(events, tick, lot, orders=how.queue == "orders")
    space = room(feed, how.latency)
    rows, paths, profits = [], {}, {}
    for name, quote in quotes.items():
        state = replay.start(feed, lot=lot, order_size=size, step=STEP, latency=how.latency, queue=how.queue, **space)
        replay.run(feed, state, *replay.quoter(dataclasses.replace(quote, size=size), tick))
        paid = replay.pay(feed, state, tick=tick, maker_fee=how.maker_fee, taker_fee=how.taker_fee)
        curve = paid.curve[paid.curve["mid"].notna()]
        path = Path(*curve[["time_ns", "mid", "position", "profit"]].to_numpy(float).T)
        paths[name] = Path((path.time - path.time[0]) / 1e9, path.mid, path.inventory / size, path.profit)
        profits[name] = np.diff(path.profit[::MINUTE])
        rows.append(_row(paid, paths[name], profits[name]))
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    title = f"{_told(market)}; tick {tick:g}, lot {lot:g}, orders of {size:g}, {(end - start):,.0f} s of data"
    return League(title, table({"": names} | columns), paths, profits, "time, s", "profit of a minute")


def calibrated(events: DataFrame, given: dict[str, Any], tick: float, start: float, end: float) -> Any:
    """The market with the parameters that were given, the others from the events."""
    from mmlib.market_making import Market
    from mmlib.order_book import calibrate

    known = {name: given[name] for name in ("sigma", "A", "k") if name in given}
    if len(known) == 3:
        return Market(**known)
    depth = calibrate.aggressors(events)["depth"].to_numpy()
    deep = depth[depth > 0]
    if not len(deep):
        raise ValueError("events must have a trade beyond the mid, or sigma, A and k be given")
    half = tick / 2
    low = half * max(round(float(np.median(deep)) / half), 1)
    bins = max(round((float(np.quantile(deep, 0.99)) - low) / half), 2)
    found = calibrate.market(events, low=low, high=low + bins * half, step=half, start=start, end=end)
    return dataclasses.replace(found, **known)


def room(feed: np.ndarray, latency: int) -> dict[str, Any]:
    """Room for what is on its way at once, in powers of two, for which the kernels are compiled."""
    ts = feed["ts"]
    touches = int(np.max(np.arange(len(ts)) - np.searchsorted(ts, ts - latency)))
    most = {"orders": 8 + 8 * (latency // STEP), "messages": 64 + touches,
            "fills": 20_000 + 2 * int((ts[-1] - ts[0]) // STEP)}  # fmt: skip
    return {name: 1 << int(value - 1).bit_length() for name, value in most.items()}


def _row(paid, path, minutes):
    moved = len(minutes) > 1 and np.ptp(minutes) > 0
    return {
        "profit": paid.profit,
        "Sharpe, minutes": risk.sharpe(minutes).value if moved else np.nan,
        "drawdown": float(risk.drawdowns(path.profit)),
        "trades": len(paid.fills),
        "spread": paid.spread,
        "markout 1 s": paid.markout,
        "holding": paid.holding,
        "fees": paid.fees,
        "inventory std": float(path.inventory.std()),
        "at the end": round(path.inventory[-1]),
    }


def _told(market):
    return f"sigma {market.sigma:.4g}, A {market.A:.4g}, k {market.k:.4g}"
