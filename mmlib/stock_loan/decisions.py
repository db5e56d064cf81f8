"""From a forecast to dollars: how much to borrow before the demand is known, and what knowing more is worth.

**Newsvendor.** Every dollar short costs `shortage`, every dollar too much `excess`, bp a year on act/360. The cost
expected is least at the quantile of demand of level shortage/(shortage + excess) (Arrow, Harris & Marschak 1951).

**Two stages.** A share borrowed now costs `cost`; when demand d is known, up to `spot_limit` more can be had at `spot`;
a share lent earns `fee`; the pre-borrow is limited by a pool of money, Σ price·q <= pool. In a scenario the income of
q,

    fee min(d, q) + (fee − spot)⁺ min(limit, (d − q)⁺) − cost q,

is concave in q with kinks at d − limit and d, so that the mean over scenarios (the sample average, Kleywegt, Shapiro &
Homem-de-Mello 2002) is separable and piecewise linear, and taking pieces in the order of income per dollar is optimal.
Value of the stochastic solution and of perfect information are Birge's (1982) and Raiffa & Schlaifer's (1961).

    terms = decisions.Terms(price=…, fee=…, cost=…, spot=…, spot_limit=…, pool=20_000)
    decisions.solve(terms, demand).quantity        # demand (scenarios, names)
    decisions.compare(terms, demand)               # RP, EEV, VSS, WS, EVPI

**Two stages round the allocation.** Clients, credit and balance sheet are seen by `pre_borrow_for`, one programme with
the whole `allocation` of every scenario in it; with one client and no such limit it is the sum above.

    decisions.pre_borrow_for(problem, demands, term=["street term"], budget=1e7).quantity
    decisions.worth(problem, demands, fresh, term=["street term"], budget=1e7)     # VSS and EVPI, out of sample
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import t as student

from mmlib import checks
from mmlib.stock_loan._two_stage import PreBorrow, Worth, allocated, pre_borrow_for, worth
from mmlib.stock_loan.allocation import BP_DAY

__all__ = ["Comparison", "Decision", "PreBorrow", "Terms", "Worth", "allocated", "compare", "income", "level",
           "lognormal", "pre_borrow", "pre_borrow_for", "ratio_interval", "solve", "vss_interval", "worth"]  # fmt: skip


def level(shortage: float, excess: float) -> float:
    """The newsvendor's level of quantile, shortage/(shortage + excess)."""
    shortage = checks.positive("shortage", shortage, "bp a year")
    return shortage / (shortage + checks.positive("excess", excess, "bp a year"))


def pre_borrow(quantile_forecast, demand, price, *, shortage, excess, days=1) -> np.ndarray:
    """Cost of having borrowed `quantile_forecast` shares when `demand` came.

    Parameters
    ----------
    quantile_forecast, demand : array_like, shape (n,)
        Shares, ≥ 0.
    price : float or array_like, shape (n,)
        Dollars a share.
    shortage, excess : float
        Cost of a dollar too few and too many, bp a year.
    days : float or array_like, shape (n,)
        Calendar days that the position is held: 1 by default, 3 over a weekend.

    Returns
    -------
    ndarray, shape (n,)
        price · (shortage (demand − q)⁺ + excess (q − demand)⁺) · days / (360 · 10⁴), dollars.
    """
    q = checks.nonnegative("quantile_forecast", quantile_forecast, "shares", array=True)
    demand = checks.nonnegative("demand", demand, "shares", array=True)
    price = checks.positive("price", price, "dollars a share", array=True)
    days = checks.nonnegative("days", days, "calendar days", array=True)
    shortage = checks.nonnegative("shortage", shortage, "bp a year")
    excess = checks.nonnegative("excess", excess, "bp a year")
    shapes = {np.shape(each) for each in (q, demand, price, days)} - {()}
    if len(shapes) > 1:
        raise ValueError(f"demand must have the shape of quantile_forecast, price and days; got {sorted(shapes)}")
    short = np.maximum(np.subtract(demand, q), 0)
    over = np.maximum(np.subtract(q, demand), 0)
    return np.atleast_1d(price * (shortage * short + excess * over) * BP_DAY * days)


def lognormal(median, spread, *, shortage, excess) -> tuple[np.ndarray, np.ndarray]:
    """The newsvendor of a lognormal demand: the best quantity, and its expected cost in dollars a day at price 1.

    With z = Φ⁻¹(level): q = median·e^{sz}, cost = E D [(shortage + excess) Φ(s − z) − excess]/(360 · 10⁴).
    """
    median = checks.positive("median", median, "shares", array=True)
    s = checks.positive("spread", spread, "standard deviation of the logarithm", array=True)
    z = ndtri(level(shortage, excess))
    mean = median * np.exp(s**2 / 2)
    return np.asarray(median * np.exp(s * z)), np.asarray(mean * ((shortage + excess) * ndtr(s - z) - excess) * BP_DAY)


def ratio_interval(cost, reference, *, block=10, draws=2000, confidence=0.95, seed=0) -> tuple[float, float, float]:
    """Σ cost / Σ reference, with its interval by the moving-block bootstrap (Künsch 1989).

    Parameters
    ----------
    cost, reference : array_like, shape (n,)
        Costs of the same days.
    block, draws : int
        Days that are drawn together; number of series drawn.

    Returns
    -------
    ratio, low, high : float
    """
    cost, reference = checks.finite("cost", cost), checks.finite("reference", reference)
    n = np.size(cost)
    if np.ndim(cost) != 1 or np.shape(reference) != (n,):
        raise ValueError(f"reference must be one row as long as cost; got {np.shape(reference)} and {np.shape(cost)}")
    block = checks.integer("block", block, least=1, most=n, meaning="days")
    draws = checks.integer("draws", draws, least=20)
    confidence = checks.in_interval("confidence", confidence, 0, 1, open=True)
    if np.sum(reference) <= 0:
        raise ValueError(f"reference must have a positive sum; got {np.sum(reference):g}")
    starts = np.random.default_rng(seed).integers(0, n - block + 1, (draws, -(-n // block)))
    rows = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)[:, :n]
    ratios = cost[rows].sum(1) / reference[rows].sum(1)
    low, high = np.quantile(ratios, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(np.sum(cost) / np.sum(reference)), float(low), float(high)


@dataclass(frozen=True, eq=False)
class Terms:
    """What the two stages cost and earn, each an array (names,), dollars a share and day.

    Attributes
    ----------
    price : ndarray
        Dollars a share.
    fee, cost, spot : ndarray
        Earned on a share lent; paid for one borrowed before, and for one borrowed when demand is known.
    spot_limit : ndarray
        Shares that can be had then.
    pool : float
        Dollars that the pre-borrow may tie up, Σ price·q; infinite for no limit.
    """

    price: np.ndarray
    fee: np.ndarray
    cost: np.ndarray
    spot: np.ndarray
    spot_limit: np.ndarray
    pool: float = np.inf

    def __post_init__(self):
        for name in ("price", "fee", "cost", "spot", "spot_limit"):
            check = checks.positive if name in ("price", "cost") else checks.nonnegative
            value = np.atleast_1d(check(name, getattr(self, name), array=True))
            if value.ndim != 1 or value.shape != np.atleast_1d(self.price).shape:
                raise ValueError(f"{name} must be one row, a number a name as in price; got shape {value.shape}")
            object.__setattr__(self, name, value)
        if self.pool != np.inf:
            checks.nonnegative("pool", self.pool, "dollars")


class Decision(NamedTuple):
    """A pre-borrow, its expected income, and what a dollar more of the pool is worth: to lose one, to gain one."""

    quantity: tuple[float, ...]
    value: float
    dual: tuple[float, float]


class Comparison(NamedTuple):
    """The stochastic solution beside the one for mean demand and beside perfect information, dollars a day.

    `vss` and `eev` have two values: where the problem for mean demand has several solutions, the worst and the best
    that were found by taking ties in the one order and in the other.
    """

    stochastic: Decision
    rp: float
    eev: tuple[float, float]
    vss: tuple[float, float]
    ws: float
    evpi: float
    mean_quantity: tuple[tuple[float, ...], tuple[float, ...]]


def income(terms: Terms, quantity, demand) -> np.ndarray:
    """Income of a pre-borrow in every scenario, shape (scenarios,): `demand` (scenarios, names)."""
    q = np.atleast_1d(checks.nonnegative("quantity", quantity, "shares", array=True))
    d = _demand(terms, demand)
    margin = np.maximum(terms.fee - terms.spot, 0)
    spot = np.minimum(terms.spot_limit, np.maximum(d - q, 0))
    return (terms.fee * np.minimum(d, q) + margin * spot - terms.cost * q).sum(1)


def solve(terms: Terms, demand, probability=None, *, reverse=False) -> Decision:
    """The pre-borrow with the highest mean income over scenarios.

    Parameters
    ----------
    terms : Terms
    demand : array_like, shape (scenarios, names)
        Shares.
    probability : array_like, shape (scenarios,), optional
        Equal ones by default.
    reverse : bool
        Take equally good pieces from the last name on, instead of from the first.
    """
    d = _demand(terms, demand)
    p = _probability(d, probability)
    scenarios, names = d.shape
    kinks = np.concatenate([np.maximum(d - terms.spot_limit, 0), d])  # below both: worth the fee; between: the spot
    saved = np.minimum(terms.fee, terms.spot)
    drops = np.concatenate([p[:, None] * (terms.fee - saved), p[:, None] * saved])
    order = np.argsort(kinks, axis=0, kind="stable")
    kinks, drops = np.take_along_axis(kinks, order, 0), np.take_along_axis(drops, order, 0)
    lengths = np.diff(kinks, axis=0, prepend=0.0)
    slopes = terms.fee - np.cumsum(drops, axis=0) + drops - terms.cost
    name = np.tile(np.arange(names), 2 * scenarios)
    length, slope = lengths.ravel(), np.round(slopes.ravel(), 12)
    rate = np.round(slope / terms.price[name], 12)
    useful = (length > 0) & (slope > 0)
    name, length, rate = name[useful], length[useful], rate[useful]
    turn = np.lexsort((-name if reverse else name, -rate))
    name, length, rate = name[turn], length[turn], rate[turn]
    spent = np.cumsum(length * terms.price[name])
    part = np.clip((terms.pool - (spent - length * terms.price[name])) / terms.price[name], 0, length)
    q = np.bincount(name, part, names)
    value = float(p @ income(terms, q, d))
    full = np.searchsorted(spent, terms.pool * (1 + 1e-12), side="right")
    gain = float(rate[full]) if full < len(rate) else 0.0
    taken = part > 0
    exact = taken.any() and (full == len(rate) or part[full] <= 1e-9 * length[full])
    slack = terms.pool - spent[-1] > 1e-9 * terms.pool if len(spent) and np.isfinite(terms.pool) else True
    loss = gain if not exact else (0.0 if slack and full == len(rate) else float(rate[taken][-1]))
    return Decision(tuple(float(each) for each in q), value, (loss, gain))


def compare(terms: Terms, demand, probability=None) -> Comparison:
    """The stochastic solution, the solution for mean demand judged on the scenarios, and that of each scenario alone.

    RP = max mean income; EEV = mean income of the pre-borrow for mean demand; VSS = RP − EEV; WS = mean of the best
    incomes of each scenario; EVPI = WS − RP. Arguments as in `solve`. On the scenarios it was chosen for, the
    stochastic solution cannot lose: for an honest VSS judge it on others (`vss_interval`).
    """
    d = _demand(terms, demand)
    p = _probability(d, probability)
    best = solve(terms, d, p)
    judged = _for_mean(terms, d, p)
    eev = (judged[0][0], judged[1][0])
    ws = float(p @ [solve(terms, row).value for row in d])
    vss = (best.value - eev[1], best.value - eev[0])
    return Comparison(best, best.value, eev, vss, ws, ws - best.value, (judged[0][1], judged[1][1]))


def _for_mean(terms, d, p):
    """Mean income and pre-borrow for mean demand, ties taken in the one order and in the other: the worse first."""
    plain = [solve(terms, p @ d, reverse=turn).quantity for turn in (False, True)]
    return sorted((float(p @ income(terms, q, d)), q) for q in plain)


def vss_interval(terms: Terms, scenarios, fresh, *, confidence=0.95) -> tuple[float, float, float]:
    """VSS out of sample: both pre-borrows chosen on `scenarios`, judged on the same `fresh` ones; mean, low, high.

    The differences are of independent scenarios, so Student's interval of their mean holds; it can lie below 0. Where
    the problem for mean demand has several solutions, the one that earns most on `scenarios` of the two found (as in
    `compare`): the VSS does not hang on the order of the names.
    """
    confidence = checks.in_interval("confidence", confidence, 0, 1, open=True)
    d, test = _demand(terms, scenarios), _demand(terms, fresh)
    if len(test) < 2:
        raise ValueError(f"fresh must have at least 2 scenarios; got {len(test)}")
    chosen, plain = solve(terms, d).quantity, _for_mean(terms, d, _probability(d, None))[1][1]
    gain = income(terms, chosen, test) - income(terms, plain, test)
    reach = student.ppf((1 + confidence) / 2, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
    return float(gain.mean()), float(gain.mean() - reach), float(gain.mean() + reach)


def _demand(terms, demand):
    d = np.atleast_2d(checks.nonnegative("demand", demand, "shares", array=True))
    if d.ndim != 2 or d.shape[1] != len(terms.price) or not len(d):
        raise ValueError(
            f"demand must have a column for each of {len(terms.price)} names; got shape {np.shape(demand)}"
        )
    return d


def _probability(d, probability):
    if probability is None:
        return np.full(len(d), 1 / len(d))
    p = np.atleast_1d(checks.nonnegative("probability", probability, array=True))
    if p.shape != (len(d),) or abs(p.sum() - 1) > 1e-9:
        raise ValueError(f"probability must be {len(d)} numbers with sum 1; got {probability!r}")
    return p
