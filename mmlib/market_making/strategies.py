"""Rules of thumb as `Quotes`: what a market maker might do without solving anything, and any rule of your own.

    constant spread     bid = ask = c
    linear skew         bid = c + s q,   ask = c − s q
    hard boundary       bid = ask = c, and a fill beyond the limit is cut back at once at a taker's cost

A rule is a function of time and inventory, and `from_function` tables it:

    >>> def cautious(t, q):                 # quotes wider while a position is held
    ...     width = 0.6 + 0.05 * abs(q)
    ...     return width, width
    >>> quotes = from_function(cautious, horizon=1.0, max_inventory=20, steps=200)

The stationary closed form of Guéant (2017), equations 4.6–4.7, is a linear skew, so `linear_skew` with the right two
numbers is nearly optimal. `wrong_folk_formula` is here to be measured, not used.
"""

from collections.abc import Callable

import numpy as np

from mmlib.checks import number
from mmlib.market_making import glft
from mmlib.market_making._exponential import constants
from mmlib.market_making.market import Market
from mmlib.market_making.quotes import Quotes, inventory_grid, one_sided, time_grid


def constant_spread(half_spread: float, horizon: float, max_inventory: int, steps: int) -> Quotes:
    """The same distance on both sides at every inventory; at ±`max_inventory` only the side that leads back.

    Parameters
    ----------
    half_spread : float
        Distance of each quote from the mid, price.
    horizon : float
        End of trading, time.
    max_inventory : int
        Largest |inventory|, orders.
    steps : int
        Number of rows of the table.

    Returns
    -------
    Quotes
        Tables of shape (steps, 2·max_inventory + 1).

    Raises
    ------
    ValueError
        If an argument is not finite or outside its range.
    """
    return linear_skew(half_spread, 0.0, horizon, max_inventory, steps)


def linear_skew(half_spread: float, skew: float, horizon: float, max_inventory: int, steps: int) -> Quotes:
    """Bid half_spread + skew·q and ask half_spread − skew·q: the centre of the quotes moves by −skew per order held.

    Parameters
    ----------
    half_spread : float
        Distance of each quote from the mid with no inventory, price.
    skew : float
        Shift of both quotes per order held, price; > 0 leans against the inventory.
    horizon, max_inventory, steps
        As for `constant_spread`.

    Returns, Raises
    ---------------
    As for `constant_spread`.
    """
    half_spread = number("half_spread", half_spread, "distance from the mid at inventory 0, price")
    skew = number("skew", skew, "shift of the quotes per order held, price")
    times, q = time_grid(horizon, steps), inventory_grid(max_inventory)
    bid, ask = (np.tile(half_spread + sign * skew * q, (len(times), 1)) for sign in (1, -1))
    bid, ask = one_sided(q, bid, ask)
    return Quotes(times, q, bid, ask, horizon)


def hard_boundary(
    half_spread: float, cost: float, horizon: float, max_inventory: int, steps: int, target: int | None = None
) -> Quotes:
    """The same distance on both sides at every inventory, and a hard limit at `max_inventory`.

    Both sides are quoted at the limit too. A fill beyond it is followed at once by a trade at the mid less `cost` per
    unit that brings |inventory| back to `target`, on the same side of 0.

    Parameters
    ----------
    half_spread : float
        Distance of each quote from the mid, price.
    cost : float
        Price per unit paid to cut the position back (half a market spread and a taker's fee, say), >= 0.
    horizon, max_inventory, steps
        As for `constant_spread`; `max_inventory` is the limit.
    target : int, optional
        |inventory| after a cut, 0 … max_inventory, orders; by default max_inventory, so that one order is cut.

    Returns
    -------
    Quotes
        With `limit`, `cost` and `target`; tables of shape (steps, 2·max_inventory + 1).

    Raises
    ------
    ValueError
        If an argument is not finite or outside its range.
    """
    half_spread = number("half_spread", half_spread, "distance from the mid, price")
    times, q = time_grid(horizon, steps), inventory_grid(max_inventory)
    both = np.array(half_spread)
    return Quotes(times, q, both, both, horizon, limit=int(q[-1]), cost=cost, target=target)


def from_function(
    rule: Callable[[float, int], tuple[float, float]], horizon: float, max_inventory: int, steps: int
) -> Quotes:
    """Any rule of time and inventory as `Quotes`.

    Parameters
    ----------
    rule : callable
        ``rule(t, q) -> (bid, ask)``: distances from the mid, price, at time `t` (float, the left end of each time
        step) with `q` orders held (int). NaN for a side that is not quoted. Called once for each time and inventory,
        with plain numbers, so it may branch on them. Its bid at +max_inventory and its ask at −max_inventory are not
        used: they would leave the table.
    horizon, max_inventory, steps
        As for `constant_spread`.

    Returns
    -------
    Quotes
        Tables of shape (steps, 2·max_inventory + 1).

    Raises
    ------
    ValueError
        If `rule` returns anything but two numbers, or an infinite distance, or an argument is outside its range.
    """
    times, q = time_grid(horizon, steps), inventory_grid(max_inventory)
    table = np.array([[_two_numbers(rule, float(t), int(n)) for n in q] for t in times])
    bid, ask = one_sided(q, table[:, :, 0], table[:, :, 1])
    return Quotes(times, q, bid, ask, horizon)


def wrong_folk_formula(market: Market, gamma: float, horizon: float, max_inventory: int, steps: int) -> Quotes:
    """A formula found in repositories, which is wrong: bid = 1/(2k) + θ(q+1) − θ(q), ask = 1/(2k) + θ(q−1) − θ(q).

    θ(t, q) is the certainty-equivalent value of holding q, and the first-order condition of the model gives
    c + θ(q) − θ(q+1) for the bid, with c = ln(1 + γ/k)/γ (Guéant, Lehalle & Fernandez-Tapia 2013, section 3). The
    formula has the difference of values with the wrong sign, so the maker bids higher the longer the position; and
    1/(2k), the constant of a linear intensity. It is tabled here to show what such an error costs.

    Parameters
    ----------
    market : Market
        With exponential intensities: `A` and `k` are used.
    gamma : float
        Risk aversion, 1/currency, >= 0.
    horizon, max_inventory, steps
        As for `constant_spread`.

    Returns, Raises
    ---------------
    As for `constant_spread`.
    """
    right = glft.quotes(market, gamma=gamma, horizon=horizon, max_inventory=max_inventory, steps=steps)
    mark_up, _ = constants(market, gamma, right.size)
    mark_up += market.fee + market.impact / 2
    bid, ask = (1 / (2 * market.k) + mark_up - side for side in (right.bid, right.ask))
    return Quotes(right.times, right.inventory, bid, ask, horizon)


def _two_numbers(rule, t, q):
    answer = rule(t, q)
    try:
        bid, ask = answer
        return float(bid), float(ask)
    except (TypeError, ValueError):
        raise ValueError(
            f"rule must return two numbers, the bid and ask distance (NaN: not quoted), at t = {t:g}, q = {q};"
            f" got {answer!r}"
        ) from None
