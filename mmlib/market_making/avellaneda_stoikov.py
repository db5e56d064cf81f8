"""Avellaneda & Stoikov (2008): quote around the price at which you are indifferent to your inventory.

A maker who holds q to the horizon and never trades again, with utility −exp(−gamma·wealth), values the position at

    theta(t, q) = mu tau q − ½ gamma sigma² tau q²,        tau = T − t                    (their section 2.2, mu = 0)

so one more unit is worth r_b = S + theta(q + 1) − theta(q) and the one given up r_a = S + theta(q) − theta(q − 1)
(their eqs. 6–7). Against these reservation prices, fills of intensity A exp(−k delta) are best sold at the mark-up
c1 = ln(1 + gamma/k)/gamma (their eqs. 17–18, 24), which gives the distances from the mid

    delta_b = c1 + fee − mu tau + ½ (1 + 2q) gamma sigma² tau
    delta_a = c1 + fee + mu tau + ½ (1 − 2q) gamma sigma² tau                                       (their eqs. 29–30).

The paper has neither drift nor fee. Drift adds E[S_T − S] = mu tau to the price at which the position is valued; a fee
is a cost of the fill, so the mark-up stands on top of it. The value ignores the fills to come: these are the optimal
quotes to first order in tau, not the optimal quotes (those are in `glft`). Far from zero inventory the distance
becomes negative, beyond the mid; that is the paper's formula, and it is tabled as it is.
"""

import numpy as np

from mmlib.checks import nonnegative
from mmlib.market_making._exponential import constants, exponential
from mmlib.market_making.quotes import Quotes, inventory_grid, one_sided, time_grid


def quotes(market, *, gamma, horizon, max_inventory, steps):
    """Quotes of Avellaneda & Stoikov (2008), eqs. 29–30, with drift and fee.

    Parameters
    ----------
    market : Market, or TwoSidedMarket of equal Exponential sides
        `impact` must be 0.
    gamma : float
        Risk aversion, 1/currency, >= 0; 0 is the risk-neutral limit, c1 = 1/k.
    horizon : float
        End of trading, time, > 0.
    max_inventory : int
        Largest |inventory| of the table, orders of one unit, >= 1; beyond it the side is not quoted.
    steps : int
        Number of equal time steps of the table, >= 1.

    Returns
    -------
    Quotes
        Distances of shape (steps, 2 max_inventory + 1).

    Raises
    ------
    ValueError
        If an argument is out of range or the market has an impact, which the model does not know.
    """
    market, gamma, times, q = _checked(market, gamma, horizon, max_inventory, steps)
    tau = horizon - times[:, None]
    risk = 0.5 * gamma * market.sigma**2 * tau
    mark = constants(market, gamma)[0] + market.fee
    bid = mark - market.mu * tau + (1 + 2 * q) * risk
    ask = mark + market.mu * tau + (1 - 2 * q) * risk
    bid, ask = one_sided(q, bid, ask)
    return Quotes(times, q, bid, ask, horizon)


def symmetric_quotes(market, *, gamma, horizon, max_inventory, steps):
    """The paper's benchmark (section 3.3): the average spread of the inventory strategy, centred on the mid.

    The spread 2 (c1 + fee) + gamma sigma² tau does not depend on the inventory; its average is over the times of the
    table, so that both strategies quote the same spread on average. Half of it is quoted on each side at every
    inventory and time. Drift does not enter: it moves the reservation price, not the spread.

    Parameters, Returns, Raises
    ---------------------------
    As `quotes`.
    """
    market, gamma, times, q = _checked(market, gamma, horizon, max_inventory, steps)
    spread = 2 * (constants(market, gamma)[0] + market.fee) + gamma * market.sigma**2 * np.mean(horizon - times)
    half = np.full((len(times), len(q)), 0.5 * spread)
    bid, ask = one_sided(q, half, half)
    return Quotes(times, q, bid, ask, horizon)


def _checked(market, gamma, horizon, max_inventory, steps):
    gamma = nonnegative("gamma", gamma, "risk aversion, 1/currency")
    market = exponential(market)
    if market.impact != 0:
        raise ValueError(f"impact must be 0 in the model of Avellaneda & Stoikov; got {market.impact!r}")
    return market, gamma, time_grid(horizon, steps), inventory_grid(max_inventory)
