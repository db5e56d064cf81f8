"""Writes data/ledger.csv, the running ledger of certainty equivalents: `python book/_ledger.py`.

One market for the book: sigma 2, A 140, k 1.5, gamma 0.1, horizon 1, limits of ±30, tables of 200 rows. Each row is a
model that a chapter makes; `mmlib.chapter.ledger` shows them. `certainty_equivalent` is that of the table, exact in
continuous time; `limit` that of tables with ever more rows; `loss_percent` what the table loses against the limit of
the optimum.
"""

import csv
from pathlib import Path

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from mmlib.market_making import (
    Market,
    avellaneda_stoikov,
    cartea_jaimungal,
    evaluate,
    glft,
    hjb,
    strategies,
    ticks,
)

LEDGER = Path(__file__).parents[1] / "data" / "ledger.csv"
MARKET = Market(sigma=2.0, A=140.0, k=1.5)
GAMMA, HORIZON, Q, ROWS = 0.1, 1.0, 30, 200
PHI = GAMMA * MARKET.sigma**2 / 2
LIMIT, TAKER_COST = 5, 0.5  # orders, price per unit: those of the chapter on strategies
TICKS = dict(phi=PHI, tick=0.25, horizon=HORIZON, max_inventory=Q, offsets=(-4, 10), objective="finite")
OBLIGATION = (2, 3)  # orders, ticks


def models():
    """(model, chapter, function of a number of rows that gives its quotes), in the order of the book."""
    common = dict(gamma=GAMMA, horizon=HORIZON, max_inventory=Q)
    return [
        (
            "Avellaneda–Stoikov",
            "avellaneda_stoikov",
            lambda rows: avellaneda_stoikov.quotes(MARKET, steps=rows, **common),
        ),
        ("tanh bridge", "glft", lambda rows: glft.tanh_quotes(MARKET, steps=rows, **common)),
        ("stationary closed form", "glft", lambda rows: glft.closed_form_quotes(MARKET, steps=rows, **common)),
        ("Guéant–Lehalle–Fernandez-Tapia, exact", "glft", lambda rows: glft.quotes(MARKET, steps=rows, **common)),
        (
            "implicit finite differences",
            "hjb_numerics",
            lambda rows: hjb.solve(MARKET, steps=rows, **common).quotes,
        ),
        ("best constant spread", "strategies", lambda rows: _constant(best_constant(), rows)),
        ("best linear skew", "strategies", lambda rows: _skew(best_skew(), rows)),
        ("best spread to a hard boundary at 5", "strategies", lambda rows: _boundary(best_boundary(), rows)),
        (
            "Cartea–Jaimungal–Penalva, φ = γσ²/2",
            "cartea_jaimungal",
            lambda rows: cartea_jaimungal.quotes(
                MARKET, phi=PHI, alpha=0.0, horizon=HORIZON, max_inventory=Q, steps=rows
            ),
        ),
        ("the same on ticks of 0.25", "ticks", lambda _: ticks.solve(MARKET, **TICKS).quotes),
        (
            "and two sides, 3 ticks apart, to |q| = 2",
            "ticks",
            lambda _: ticks.solve(MARKET, **TICKS, obligation=OBLIGATION).quotes,
        ),
    ]


def worth(quotes):
    """Certainty equivalent, currency."""
    return evaluate.certainty_equivalent(MARKET, quotes, GAMMA)


def limit(make):
    """Richardson's limit of tables of 32, 64, …, 512 rows, errors dt to dt⁴."""
    values = np.array([worth(make(rows)) for rows in (32, 64, 128, 256, 512)])
    for order in (1, 2, 3, 4):
        values = (2**order * values[1:] - values[:-1]) / (2**order - 1)
    return values[-1]


def _constant(half_spread, rows):
    return strategies.constant_spread(half_spread, HORIZON, Q, rows)


def _skew(rule, rows):
    return strategies.linear_skew(*rule, HORIZON, Q, rows)


def _boundary(half_spread, rows):
    return strategies.hard_boundary(half_spread, TAKER_COST, HORIZON, LIMIT, rows)


def best_constant():
    """Half-spread of the constant spread with the largest certainty equivalent, price."""
    return minimize_scalar(lambda c: -worth(_constant(c, 1)), bounds=(0.1, 6.0), method="bounded").x


def best_boundary():
    """Half-spread of the hard boundary with the largest certainty equivalent, price."""
    return minimize_scalar(lambda c: -worth(_boundary(c, 1)), bounds=(0.1, 3.0), method="bounded").x


def best_skew():
    """Half-spread and skew of the linear skew with the largest certainty equivalent, price."""
    return minimize(lambda rule: -worth(_skew(rule, 1)), [1 / MARKET.k, 0.05], method="Nelder-Mead").x


def rows():
    """The ledger as a list of dictionaries."""
    found = []
    for model, chapter, make in models():
        constant = chapter in ("strategies", "ticks") or model == "stationary closed form"
        value = worth(make(ROWS))
        found.append([model, chapter, value, value if constant else limit(make)])
    best = max(row[3] for row in found)
    return [
        dict(
            model=model,
            chapter=chapter,
            certainty_equivalent=f"{value:.4f}",
            limit=f"{end:.4f}",
            loss_percent=f"{100 * (1 - value / best):.3f}",
        )
        for model, chapter, value, end in found
    ]


def main():
    table = rows()
    with LEDGER.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


if __name__ == "__main__":
    main()
