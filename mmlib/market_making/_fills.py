"""What a fill does: its rate, the money it makes and where it leaves the inventory, for any market and any quotes.

With q in orders of `size` units, a fill earns size·(distance − fee) against the mid: its "spread". A bid fill then
moves the mid down by the market's impact while q + 1 orders are held, an ask fill moves it up while q − 1 are; if the
fill went beyond a hard limit the excess is traded at `cost` per unit. Both are the fill's "toll".
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mmlib.checks import in_interval
from mmlib.market_making.quotes import Quotes

MOST_ROUND_TRIPS = 1e5  # in one row of the table; the std of the profit is then right to 1e-6, the law to 1e-10


class Fills(NamedTuple):
    """Fills of `quotes` in a market, tabled over (time, inventory) = (n, m).

    Attributes
    ----------
    bid_rate, ask_rate : ndarray, shape (n, m)
        Orders/time; 0 where the side is not quoted.
    bid_spread, ask_spread : ndarray, shape (n, m)
        Currency earned by a fill against the mid, size·(distance − fee); 0 where not quoted.
    bid_toll, ask_toll : ndarray, shape (m,)
        Currency lost after a fill from inventory q: impact on the position held, and the cost of a cut.
    bid_to, ask_to : ndarray of int, shape (m,)
        Index in `quotes.inventory` after a fill (and a cut) from each inventory.
    """

    bid_rate: np.ndarray
    ask_rate: np.ndarray
    bid_spread: np.ndarray
    ask_spread: np.ndarray
    bid_toll: np.ndarray
    ask_toll: np.ndarray
    bid_to: np.ndarray
    ask_to: np.ndarray


MARKET = ("sigma", "mu", "impact", "fee", "bid_rate", "ask_rate")


def check_market_and_quotes(market, quotes):
    """ValueError unless `market` has what a market has, and `quotes` are `Quotes`."""
    missing = [name for name in MARKET if not hasattr(market, name)]
    if missing:
        raise ValueError(f"market must have {', '.join(MARKET)}, as a Market has; got {market!r} without {missing[0]}")
    if not isinstance(quotes, Quotes):
        raise ValueError(f"quotes must be Quotes (of a solution, its .quotes); got {type(quotes).__name__}")


def from_time(quotes, start, scheme):
    """`quotes` from the time `start` on, with times counted from there.

    Raises
    ------
    ValueError
        If `start` is not in [0, horizon), or in scheme 'bernoulli' no time of the table.
    """
    start = in_interval("start", start, 0, quotes.horizon, open="right", meaning="time from which on, before horizon")
    if start == 0:
        return quotes
    near = 1e-9 * np.diff(quotes.times, append=quotes.horizon).min()
    row = int(np.searchsorted(quotes.times, start + near, side="right")) - 1
    if abs(quotes.times[row] - start) <= near:
        start = quotes.times[row]
    elif scheme == "bernoulli":
        raise ValueError(f"start must be a time of the table for scheme 'bernoulli'; got {start!r}")
    times = np.append(0.0, quotes.times[row + 1 :] - start)
    return replace(quotes, times=times, bid=quotes.bid[row:], ask=quotes.ask[row:], horizon=quotes.horizon - start)


def fills(market, quotes):
    """The `Fills` of `quotes` in `market`; ValueError if a quote is so far through the mid that its rate overflows."""
    q = quotes.inventory
    bid_to, bid_cut = _landing(quotes, q + 1)
    ask_to, ask_cut = _landing(quotes, q - 1)
    return Fills(
        bid_rate=_rates("bid", quotes.bid, market.bid_rate),
        ask_rate=_rates("ask", quotes.ask, market.ask_rate),
        bid_spread=_where_quoted(quotes.bid, quotes.size * (quotes.bid - market.fee)),
        ask_spread=_where_quoted(quotes.ask, quotes.size * (quotes.ask - market.fee)),
        bid_toll=quotes.size * (market.impact * (q + 1) + quotes.cost * bid_cut),
        ask_toll=quotes.size * (-market.impact * (q - 1) + quotes.cost * ask_cut),
        bid_to=bid_to,
        ask_to=ask_to,
    )


def continuous_fills(market, quotes):
    """The `Fills` for continuous time, where nothing bounds how often the inventory goes round in a row of the table.

    It goes round between q and q + 1 at most at the slower of the rates of the bid at q and the ask at q + 1; and at a
    hard limit, filled on one side only, at most at the slowest rate of that side from the target to the limit.

    Raises
    ------
    ValueError
        As `fills`, and if that rate times the length of the row exceeds MOST_ROUND_TRIPS: the profit is then a small
        difference of huge numbers, and a path takes as many events. One side alone may fill as fast as it likes.
    """
    f = fills(market, quotes)
    loops = [("bid", np.minimum(f.bid_rate[:, :-1], f.ask_rate[:, 1:]), quotes.bid)]
    if quotes.limit is not None:
        inner, outer = quotes.limit + quotes.target, quotes.limit - quotes.target
        loops.append(("bid", f.bid_rate[:, inner:].min(1, keepdims=True), quotes.bid[:, inner:]))
        loops.append(("ask", f.ask_rate[:, : outer + 1].min(1, keepdims=True), quotes.ask))
    row = np.diff(quotes.times, append=quotes.horizon)[:, None]
    for side, rate, distance in loops:
        trips = rate * row
        if np.max(trips) > MOST_ROUND_TRIPS:
            i, j = np.unravel_index(np.argmax(trips), trips.shape)
            back = f", with the ask at {quotes.ask[i, j + 1]:g} one order above" if rate.shape[1] > 1 else ""
            raise ValueError(
                f"{side} must be a distance at which the inventory goes round at most {MOST_ROUND_TRIPS:g} times in a"
                f" row of the table (fill rate of the slower side times {row[i, 0]:g}); got {distance[i, j]:g}{back}:"
                f" {trips[i, j]:.3g} round trips"
            )
    return f


def bernoulli_probabilities(market, quotes):
    """Fill probabilities min(1, rate·dt) per side and step of the scheme of Avellaneda & Stoikov (2008), section 3.3.

    Returns
    -------
    bid, ask : ndarray, shape (n, m)
    dt : float
        The time step, horizon/n.

    Raises
    ------
    ValueError
        If the times are not equally spaced, if the rate at distance 0 (or the nearest at which it was measured) times
        dt exceeds 1 (the message names the smallest `steps` that works), if a rate overflows, or if the market has an
        impact (two fills in one step would have no order).
    """
    n = len(quotes.times)
    dt = quotes.horizon / n
    if not np.allclose(quotes.times, np.arange(n) * dt, rtol=0, atol=1e-9 * dt):
        raise ValueError(
            f"times must be {n} equal steps from 0 to horizon for scheme 'bernoulli'; got {quotes.times!r}"
        )
    if market.impact != 0:
        raise ValueError(f"impact must be 0 for scheme 'bernoulli'; got {market.impact!r}; use scheme 'continuous'")
    A, nearest = max(_rate_nearest_the_mid(market, side) for side in ("bid", "ask"))
    if A * quotes.horizon > n:
        raise ValueError(
            f"steps must be >= {int(np.ceil(A * quotes.horizon))} for scheme 'bernoulli', so that the fill"
            f" probability A·dt at distance {nearest:g} is <= 1; got {n}, A·dt = {A * dt:.4g}"
        )
    bid = np.minimum(1.0, _rates("bid", quotes.bid, market.bid_rate) * dt)
    ask = np.minimum(1.0, _rates("ask", quotes.ask, market.ask_rate) * dt)
    return bid, ask, dt


def steps(market, quotes):
    """The fills of the Bernoulli scheme, its probabilities of a bid's and an ask's fill, and its step."""
    return fills(market, quotes), *bernoulli_probabilities(market, quotes)


def step_gains(f):
    """Currency earned by a bid's fill alone, an ask's alone, and both in one step, which cuts nothing; each (n, m)."""
    return f.bid_spread - f.bid_toll, f.ask_spread - f.ask_toll, f.bid_spread + f.ask_spread


def rates_and_gains(market, quotes, f):
    """What the kernels of `chain` need: jumps of the inventory; gains of fills, drift and variance of the profit."""
    q = quotes.size * quotes.inventory
    rates = (np.diff(quotes.times, append=quotes.horizon), f.bid_rate, f.ask_rate, f.bid_to, f.ask_to)
    gains = (f.bid_spread - f.bid_toll, f.ask_spread - f.ask_toll, q * market.mu, (q * market.sigma) ** 2)
    return rates, gains


def start_index(quotes, inventory):
    """Index of `inventory` (orders) in the quotes' grid; ValueError if it is not there."""
    one = np.ndim(inventory) == 0 and np.asarray(inventory).dtype.kind in "iuf"
    found = np.flatnonzero(quotes.inventory == inventory) if one else []
    if len(found) == 0:
        raise ValueError(
            f"inventory must be one of {quotes.inventory[0]}, ..., {quotes.inventory[-1]} (orders held at the start);"
            f" got {inventory!r}"
        )
    return int(found[0])


def _rate_nearest_the_mid(market, side):
    """The rate at distance 0, or at the nearest distance where it was measured; and that distance."""
    low, high = getattr(getattr(market, side, None), "domain", (-np.inf, np.inf))
    nearest = float(min(max(low, 0.0), high))
    return float(getattr(market, f"{side}_rate")(nearest)), nearest


def _rates(side, distance, rate):
    with np.errstate(over="ignore"):  # refused in the next lines
        rates = _where_quoted(distance, rate(distance))
    if not np.all(np.isfinite(rates)):
        raise ValueError(
            f"{side} must be a distance at which the fill rate is finite; got {distance[~np.isfinite(rates)][0]!r}"
        )
    return rates


def _where_quoted(distance, values):
    return np.where(np.isnan(distance), 0.0, values)


def _landing(quotes, after):
    """Index of the inventory where a fill leads, and how many orders are cut."""
    if quotes.limit is None:
        landed = np.clip(after, quotes.inventory[0], quotes.inventory[-1])  # the side that would leave is never quoted
    else:
        landed = np.where(np.abs(after) > quotes.limit, np.sign(after) * quotes.target, after)
    cut = np.abs(after - landed) if quotes.limit is not None else np.zeros(len(after), int)
    return landed - quotes.inventory[0], cut
