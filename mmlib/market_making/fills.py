"""What a fill does: its rate, the money it makes and where it leaves the inventory, for any market and any quotes.

With q in orders of `size` units, a fill earns size·(distance − fee) against the mid: its "spread". A bid fill then
moves the mid down by the market's impact while q + 1 orders are held, an ask fill moves it up while q − 1 are; if the
fill went beyond a hard limit the excess is traded at `cost` per unit. Both are the fill's "toll".
"""

from typing import NamedTuple

import numpy as np


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
        If the times are not equally spaced, if the rate at distance 0 times dt exceeds 1 (the message names the
        smallest `steps` that works), if a rate overflows, or if the market has an impact (two fills in one step would
        have no order).
    """
    n = len(quotes.times)
    dt = quotes.horizon / n
    if not np.allclose(quotes.times, np.arange(n) * dt, rtol=0, atol=1e-9 * dt):
        raise ValueError(
            f"times must be {n} equal steps from 0 to horizon for scheme 'bernoulli'; got {quotes.times!r}"
        )
    if market.impact != 0:
        raise ValueError(f"impact must be 0 for scheme 'bernoulli'; got {market.impact!r}; use scheme 'continuous'")
    at_mid = max(float(market.bid_rate(0.0)), float(market.ask_rate(0.0)))
    if at_mid * quotes.horizon > n:
        raise ValueError(
            f"steps must be >= {int(np.ceil(at_mid * quotes.horizon))} for scheme 'bernoulli', so that the fill"
            f" probability A·dt at distance 0 is <= 1; got {n}, A·dt = {at_mid * dt:.4g}"
        )
    bid = np.minimum(1.0, _rates("bid", quotes.bid, market.bid_rate) * dt)
    ask = np.minimum(1.0, _rates("ask", quotes.ask, market.ask_rate) * dt)
    return bid, ask, dt


def start_index(quotes, inventory):
    """Index of `inventory` (orders) in the quotes' grid; ValueError if it is not there."""
    found = np.flatnonzero(quotes.inventory == inventory)
    if len(found) == 0:
        raise ValueError(
            f"inventory must be one of {quotes.inventory[0]}, ..., {quotes.inventory[-1]} (orders held at the start);"
            f" got {inventory!r}"
        )
    return int(found[0])


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
