"""What `ticks` may quote: alternatives and their worth, an exchange's rules, and the rules that conflict.

At each inventory q one pair (b, a) of alternatives is chosen, an offset in ticks or "not quoted" on either side. A rule
forbids pairs at q; only monotone quotes tie the choices of neighbours together: b may not fall and a may not rise from
q to q + 1. A table that keeps them all is found, or shown not to exist, from inventory to inventory upwards.

If the rules exclude every table, those are left out one after another whose absence changes nothing; what remains
conflicts while no part of it does (the deletion filter of Chinneck & Dravnieks 1991).
"""

from dataclasses import dataclass, replace

import numpy as np

from mmlib.checks import choice, finite, integer, nonnegative, positive
from mmlib.market_making.quotes import inventory_grid


@dataclass(frozen=True, eq=False)
class Choices:
    """What may be chosen at each inventory: rates (n,), fill values (m, n), rewards (m,), allowed pairs (m, n, n)."""

    bid_rate: np.ndarray
    ask_rate: np.ndarray
    bid_value: np.ndarray
    ask_value: np.ndarray
    running: np.ndarray
    allowed: np.ndarray


def problem(market, phi, tick, max_inventory, offsets, lot, mid, min_spread, max_spread, obligation, max_rate):
    """Inventories, distances, `Choices`, and which pairs each rule forbids: name -> (m, n, n) of bool."""
    phi = nonnegative("phi", phi, "running penalty, currency/(units² time)")
    tick = positive("tick", tick, "price step")
    lot = positive("lot", lot, "units of an order")
    q = inventory_grid(max_inventory)
    half = choice("mid", mid, ("tick", "half")) == "half"
    first, last = _two("offsets", offsets, "smallest and largest distance, ticks")
    if last < first:
        raise ValueError(f"offsets must be (smallest, largest), ticks; got {offsets!r}")
    ticks = np.arange(first, last + 1)
    distance = tick * (ticks + 0.5 * half)
    rates = [np.append(finite("rate", rate(distance)), 0.0) for rate in (market.bid_rate, market.ask_rate)]
    for side, rate in zip(("bid", "ask"), rates, strict=True):
        if not rate[:-1].all():
            raise ValueError(
                f"offsets must be distances at which orders are filled (ticks); {distance[rate[:-1] == 0][0]:g} is too"
                f" far for the {side}: its rate is 0"
            )
    earned = np.append(distance - market.fee, 0.0)
    bid_value = lot * (earned - market.impact * (q[:, None] + 1))
    ask_value = lot * (earned + market.impact * (q[:, None] - 1))
    out = len(ticks)  # index of "not quoted"
    side = np.arange(out + 1)
    both = (side[:, None] < out) & (side[None, :] < out)
    spread = side[:, None] + side[None, :] + 2 * first + half
    allowed = np.ones((len(q), out + 1, out + 1), bool)
    allowed[q < 0, out, :] = False  # the side that brings inventory back to 0 is always quoted
    allowed[q > 0, :, out] = False
    allowed[-1, :out, :] = False
    allowed[0, :, :out] = False
    everywhere = np.ones(len(q), bool)[:, None, None]
    rules = {}
    if min_spread is not None:
        low = integer("min_spread", min_spread, meaning="ticks")
        rules["min_spread"] = everywhere & both & (spread < low)
    if max_spread is not None:
        high = integer("max_spread", max_spread, meaning="ticks")
        rules["max_spread"] = everywhere & both & (spread > high)
    if obligation is not None:
        level, widest = _two("obligation", obligation, "|inventory| obliged, orders, and spread, ticks")
        level = integer("obligation[0]", level, least=0, most=q[-1] - 1, meaning="|inventory| obliged, orders")
        rules["obligation"] = (np.abs(q) <= level)[:, None, None] & ~(both & (spread <= widest))
    if max_rate is not None:
        most = positive("max_rate", max_rate, "expected fills, orders/time")
        rules["max_rate"] = everywhere & (rates[0][:, None] + rates[1][None, :] > most)
    running = market.mu * lot * q - phi * (lot * q) ** 2
    return q, distance, Choices(*rates, bid_value, ask_value, running, allowed), rules


def _two(name, pair, meaning):
    if np.shape(pair) != (2,):
        raise ValueError(f"{name} must be two integers ({meaning}); got {pair!r}")
    return (integer(f"{name}[{i}]", number, meaning=meaning) for i, number in enumerate(pair))


def kept(choices, rules, monotone):
    """The `Choices` whose pairs keep all `rules`; ValueError naming a smallest set of rules that conflicts."""
    names = [*rules] + (["monotone"] if monotone else [])
    if not _possible(choices, rules, names):
        conflict = names
        for name in names:
            others = [other for other in conflict if other != name]
            if not _possible(choices, rules, others):
                conflict = others
        raise ValueError(
            f"{' and '.join(sorted(conflict))} must allow a table of quotes; no offsets keep them together"
        )
    return _keeping(choices, rules, rules)


def best_monotone(allowed, worth):
    """The monotone table of allowed pairs with the largest sum of `worth`, (m, n, n); None if there is no such table.

    From inventory to inventory upwards; the best of all pairs before (b, a) is a running maximum over smaller b and
    larger a.
    """
    totals = [np.where(allowed[0], worth[0], -np.inf)]
    for q in range(1, len(worth)):
        before = np.maximum.accumulate(totals[-1], axis=0)
        before = np.maximum.accumulate(before[:, ::-1], axis=1)[:, ::-1]
        totals.append(np.where(allowed[q], worth[q] + before, -np.inf))
    if totals[-1].max() == -np.inf:
        return None
    b, a, pairs = len(worth[0]), 0, []
    for total in reversed(totals):
        part = total[: b + 1, a:]
        b, ahead = np.unravel_index(part.argmax(), part.shape)
        a += ahead
        pairs.append((b, a))
    return tuple(np.array(side) for side in zip(*reversed(pairs), strict=True))


def _keeping(choices, rules, names):
    allowed = choices.allowed.copy()
    for name in names:
        if name != "monotone":
            allowed &= ~rules[name]
    return replace(choices, allowed=allowed)


def _possible(choices, rules, names):
    allowed = _keeping(choices, rules, names).allowed
    if "monotone" in names:
        return best_monotone(allowed, np.zeros(allowed.shape)) is not None
    return bool(allowed.any((1, 2)).all())
