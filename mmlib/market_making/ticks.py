"""Quotes on a tick and lot grid, chosen under an exchange's rules, with a proof of how good they are.

At every inventory q (orders of `lot` units) the maker picks a whole number of ticks for each side, or leaves out the
side that would add to the position; the distance is (offset + ½)·tick when the mid lies between two ticks. With rates
Lambda_b, Lambda_a of the offsets chosen, inventory is a birth–death chain, and a table d of offsets earns per unit time

    g(d) = sum_q pi_q (Lambda_b v_b + Lambda_a v_a + mu lot q − phi (lot q)²),
    pi_q Lambda_b(q) = pi_{q+1} Lambda_a(q+1),

v being a fill's gain (`fills`). g is a ratio of products of the choices, so no integer programme holds it. Policy
evaluation (Howard 1960) does: g and the marginal values p_q = h(q) − h(q+1) of d solve at every q

    g = R_q(d, p),     R_q(d, p) = Lambda_b (v_b − p_q) + Lambda_a (v_a + p_{q−1}) + mu lot q − phi (lot q)²,

and for *any* table d' the gain differs by (sum the equations with the weights pi(d'): the p cancel)

    g(d') = g(d) + sum_q pi_q(d') (R_q(d', p) − g).

So a table none of whose allowed pairs has R_q > g is the best one, and policy iteration ends in one: that is the proof
under rules that look at one inventory at a time. Monotone quotes tie neighbours together. Then, with bounds
low_q <= pi_q(d') <= high_q that hold for every table at least as good as the best one known, there is a cut

    g(d') <= g(d) + sum_q [ high_q (R_q − g)⁺ − low_q (R_q − g)⁻ ],

linear in the choices at each level and exact at d (Hooker & Ottosson 2003: logic-based Benders decomposition). CP-SAT
(in a process of its own) holds the rule and the cuts, and proposes the table with the largest bound; it is evaluated
exactly in floats and gives the next cut. The bounds on pi are Lagrangian: pi_q(d') <= max over tables of
pi_q + nu (g − g_best), for any nu >= 0, by policy iteration.

To a horizon (objective="finite") the best table changes with the time to go; backward induction finds when, exactly.
"""

from dataclasses import dataclass

import numpy as np

from mmlib.checks import choice, integer, nonnegative, positive
from mmlib.market_making._fills import fills
from mmlib.market_making._tick_gain import branch, evaluated, howard, is_monotone
from mmlib.market_making._tick_horizon import induction
from mmlib.market_making._tick_program import kept, problem
from mmlib.market_making.quotes import Quotes


@dataclass(frozen=True, eq=False)
class TickQuotes:
    """A table on the grid and what is proven of it.

    Attributes
    ----------
    quotes : Quotes
        Distances, multiples of the tick (plus half a tick): one row, or to a horizon one for each best table in turn.
    value : float
        Its stationary gain, currency/time; to a horizon its expected worth from inventory 0, currency.
    bound : float
        No table that keeps the rules has a larger one, rounding included.
    status : str
        "optimal" if bound − value <= tolerance·|bound|, else "feasible": the effort ended first.
    method : str
        What proved the bound: "policy iteration", "CP-SAT" or "backward induction".
    """

    quotes: Quotes
    value: float
    bound: float
    status: str
    method: str

    @property
    def gap(self) -> float:
        """bound − value, in the unit of `value`."""
        return self.bound - self.value


def solve(
    market,
    *,
    phi: float,
    tick: float,
    horizon: float,
    max_inventory: int,
    offsets: tuple[int, int],
    lot: float = 1.0,
    mid: str = "tick",
    objective: str = "stationary",
    monotone: bool = False,
    min_spread: int | None = None,
    max_spread: int | None = None,
    obligation: tuple[int, int] | None = None,
    max_rate: float | None = None,
    tolerance: float = 1e-6,
    effort: float = 30.0,
    seed: int = 0,
) -> TickQuotes:
    """The best tick offsets among those that keep the rules.

    Always kept: offsets lie in the range given; the side that brings inventory back to 0 is quoted; at ±max_inventory
    the side that would leave is not. Any other side may be left out. The further rules are off unless asked for.

    Parameters
    ----------
    market : Market
        Any object with sigma, mu, impact, fee, bid_rate and ask_rate.
    phi : float
        Running penalty phi (lot q)², currency/(units² time), >= 0.
    tick : float
        Price step, > 0.
    horizon : float
        End of trading, time, > 0; the stationary gain does not depend on it.
    max_inventory : int
        Q, orders, >= 1.
    offsets : (int, int)
        Smallest and largest offset from the mid, ticks.
    lot : float
        Units of an order, > 0.
    mid : {"tick", "half"}
        Whether the mid lies on a tick or half-way between two.
    objective : {"stationary", "finite"}
        The gain per unit of time in the long run; or the expected profit until the horizon less the penalties, from
        inventory 0, what is left being marked to the mid.
    monotone : bool
        The bid's offset never falls and the ask's never rises with inventory; a side left out counts as the farthest.
        The only rule that ties inventories together, and the only one that needs OR-Tools; with "stationary" only.
    min_spread, max_spread : int, optional
        Ticks between bid and ask wherever both are quoted.
    obligation : (int, int), optional
        (level, spread): both sides present, at most `spread` ticks apart, at every |q| <= level < Q.
    max_rate : float, optional
        Largest expected number of fills per unit time, both sides together, at each inventory.
    tolerance : float
        Gap at which the table counts as optimal, relative to the bound, >= 0.
    effort : float
        Limit of CP-SAT's deterministic time and of that of writing its models (the same on every machine, of the order
        of a second), > 0.
    seed : int
        Random seed of CP-SAT.

    Returns
    -------
    TickQuotes

    Raises
    ------
    ValueError
        If an argument is out of range, or if no table keeps the rules; then the message names rules that conflict.
    ImportError
        If CP-SAT is needed and OR-Tools is not installed.
    """
    q, distance, choices, rules = problem(
        market, phi, tick, max_inventory, offsets, lot, mid, min_spread, max_spread, obligation, max_rate
    )
    horizon = positive("horizon", horizon, "end of trading, time")
    finite = choice("objective", objective, ("stationary", "finite")) == "finite"
    if not isinstance(monotone, bool):
        raise ValueError(f"monotone must be True or False; got {monotone!r}")
    if finite and monotone:
        raise ValueError(
            "monotone must be False for objective 'finite': the best choice at one inventory would depend on where the"
            " maker stands now"
        )
    tolerance = nonnegative("tolerance", tolerance, "relative gap")
    effort = positive("effort", effort, "CP-SAT's deterministic time")
    seed = integer("seed", seed, least=0, most=2**31 - 1)
    choices = kept(choices, rules, monotone)
    if finite:
        method = "backward induction"
        times, best, theta, error = induction(choices, horizon)
        value = float(theta[len(q) // 2])
        bound = value + error
    else:
        method, times = "policy iteration", [0.0]
        some = divmod(choices.allowed.reshape(len(q), -1).argmax(1), choices.allowed.shape[2])
        best, value = howard(choices, some)
        bound = value + 1e-12 * abs(value)
        if monotone and not is_monotone(best):
            method = "CP-SAT"
            best, value, bound = branch(choices, best, value, tolerance, effort, seed)
        best = tuple(side[None, :] for side in best)
    bid, ask = (np.append(distance, np.nan)[side] for side in best)
    status = "optimal" if bound - value <= tolerance * abs(bound) else "feasible"
    return TickQuotes(Quotes(times, q, bid, ask, horizon, lot), value, bound, status, method)


def gain(market, quotes: Quotes, phi: float) -> float:
    """Stationary gain of a table of one row, currency/time.

    Parameters
    ----------
    market : Market
    quotes : Quotes
        One row, inventory −Q … Q, the side that brings inventory back to 0 quoted everywhere, no hard limit.
    phi : float
        Running penalty phi (size q)², currency/(units² time), >= 0.

    Raises
    ------
    ValueError
        If the table is not of that form.
    """
    phi = nonnegative("phi", phi, "running penalty, currency/(units² time)")
    q = quotes.inventory
    back = np.where(q > 0, quotes.ask[0], quotes.bid[0])[q != 0]
    if len(quotes.times) != 1 or q[0] != -q[-1] or quotes.limit is not None or np.any(np.isnan(back)):
        raise ValueError("quotes must be one row over -Q, ..., Q, quoted on the side that brings inventory back to 0")
    f = fills(market, quotes)
    running = market.mu * quotes.size * q - phi * (quotes.size * q) ** 2
    values = f.bid_spread[0] - f.bid_toll, f.ask_spread[0] - f.ask_toll
    return evaluated(f.bid_rate[0], f.ask_rate[0], *values, running)[0]
