"""Monte Carlo of any quotes in any market, path by path.

    >>> outcome = simulate.run(market, quotes, paths=100_000, seed=7, scheme="bernoulli")
    >>> outcome.summary().loc["mean"]

Two schemes. ``"bernoulli"`` is that of Avellaneda & Stoikov (2008, section 3.3): in each step of the table each side
fills with probability min(1, rate·dt), at most once, then the mid moves by ±σ√dt and the inventory after the fills
carries the move. Probabilities are rounded to multiples of 2⁻³¹, which no standard error can see. ``"continuous"`` is
the model itself, without any time step: Poisson fills at the rates of the row and inventory, simulated event by event,
and a Brownian mid; profits are exact samples of their law.

Profit W_T − W_0 with wealth W = cash + q·size·S splits into spread + revaluation − tolls: Σ size·(δ − fee) over fills,
∫ q·size·dS for the mid without impact, and the cost of impact, of cuts and of liquidation.

**Common random numbers.** Path i is a function of (seed, i, market, quotes) alone. For a seed and a table of n steps,
path i has the same mid at every time of the table for any quotes (but for impact, which fills cause). In the Bernoulli
scheme it also has the same uniform per step and side. In the continuous scheme the j-th fill of a side comes when
that side's cumulated rate reaches a level that is the same for any quotes (Rathinam, Sheppard & Khammash 2010).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mmlib import risk
from mmlib.checks import choice, integer, nonnegative
from mmlib.market_making._fills import (
    bernoulli_probabilities,
    check_market_and_quotes,
    continuous_fills,
    fills,
    start_index,
)
from mmlib.market_making._kernels import monte_carlo as kernels
from mmlib.market_making.quotes import Quotes
from mmlib.numerics import streams

SCHEMES = ("bernoulli", "continuous")


class Sample(NamedTuple):
    """The first paths on the times of the quotes and the horizon.

    Attributes
    ----------
    times : ndarray, shape (n + 1,)
    mid : ndarray, shape (paths, n + 1)
        Mid price less its start, impact of own fills included.
    inventory : ndarray of int, shape (paths, n + 1)
        Orders held on arrival at each time, before the fills of the row that starts there.
    cash, wealth : ndarray, shape (paths, n + 1)
        Currency; wealth = cash + inventory·size·mid, 0 at the start. The last includes the liquidation cost.
    bid, ask : ndarray, shape (paths, n)
        Distances quoted from each time on at the inventory then held; NaN where not quoted.
    """

    times: np.ndarray
    mid: np.ndarray
    inventory: np.ndarray
    cash: np.ndarray
    wealth: np.ndarray
    bid: np.ndarray
    ask: np.ndarray


@dataclass(frozen=True, eq=False)
class Outcome:
    """What `run` returns; arrays of shape (paths,).

    Attributes
    ----------
    profit : ndarray
        W_T − W_0, currency; equal to spread + revaluation − tolls.
    inventory, bid_fills, ask_fills : ndarray of int
        Orders held at the horizon, and orders filled.
    spread, revaluation, tolls : ndarray
        Attribution of the profit, currency.
    drawdown : ndarray
        Maximal drawdown of wealth, currency; NaN if not asked for. In the Bernoulli scheme on its steps, which are all
        the times that it has. In the continuous one the extremes of the Brownian bridges between fills and times of the
        table count too; what is missed is a new peak and the fall from it within one of these bridges. That biases the
        mean downwards, by less than 0.01 of 2.8 for Avellaneda & Stoikov's market and 200 rows.
    sample : Sample or None
    """

    profit: np.ndarray
    inventory: np.ndarray
    bid_fills: np.ndarray
    ask_fills: np.ndarray
    spread: np.ndarray
    revaluation: np.ndarray
    tolls: np.ndarray
    drawdown: np.ndarray
    sample: Sample | None = None

    def summary(self, level: float = 0.95) -> pd.DataFrame:
        """Table of estimates: one row a quantity, columns `value` and `standard error` (see `mmlib.risk`).

        Rows: mean, std and Sharpe ratio of the profit, its VaR and CVaR at `level`, means of spread, revaluation,
        tolls and maximal drawdown, mean and std of the inventory at the horizon, means of bid and ask fills.

        Raises
        ------
        ValueError
            If the profits are fewer than two or all equal, or `level` is not in (0, 1).
        """
        rows = {
            "mean": risk.mean(self.profit),
            "std": risk.std(self.profit),
            "Sharpe": risk.sharpe(self.profit),
            "VaR": risk.var(self.profit, level),
            "CVaR": risk.cvar(self.profit, level),
            "spread": risk.mean(self.spread),
            "revaluation": risk.mean(self.revaluation),
            "tolls": risk.mean(self.tolls),
            "inventory mean": risk.mean(self.inventory),
            "inventory std": risk.std(self.inventory),
            "bid fills": risk.mean(self.bid_fills),
            "ask fills": risk.mean(self.ask_fills),
        }
        if not np.isnan(self.drawdown).any():
            rows["drawdown"] = risk.mean(self.drawdown)
        return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "standard error"])


def run(
    market: Any,
    quotes: Quotes,
    paths: int = 100_000,
    seed: int = 7,
    scheme: str = "bernoulli",
    inventory: int = 0,
    liquidation_cost: float = 0.0,
    drawdown: bool = True,
    sample_paths: int = 0,
) -> Outcome:
    """Simulate `quotes` in `market`.

    Parameters
    ----------
    market : Market
    quotes : Quotes
        One step of the Bernoulli scheme a row; in the continuous scheme rows may differ in length.
    paths : int
        Number of independent paths, >= 1.
    seed : int
        0 … 2⁶³ − 1. Same seed, same numbers, on any number of threads; path i does not depend on `paths`.
    scheme : {"bernoulli", "continuous"}
    inventory : int
        Orders held at the start, valued at the mid.
    liquidation_cost : float
        Price per unit of |inventory| charged at the horizon, >= 0.
    drawdown : bool
        Whether to follow the drawdown of each path; nothing else depends on it.
    sample_paths : int
        Number of first paths to record in `sample`, 0 … `paths`. Memory depends on the number of steps only through it.

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError
        If an argument is outside its range; in the Bernoulli scheme also if the market or the times do not fit it (see
        `fills.bernoulli_probabilities`), in the continuous one if quotes fill absurdly fast on both sides
        (`fills.continuous_fills`); if a fill rate is not finite.
    """
    check_market_and_quotes(market, quotes)
    paths = integer("paths", paths, least=1, meaning="number of paths")
    seed = integer("seed", seed, least=0, most=2**63 - 1, meaning="seed of the random streams")
    sample_paths = integer("sample_paths", sample_paths, least=0, most=paths, meaning="number of paths recorded")
    choice("scheme", scheme, SCHEMES)
    liquidation = float(quotes.size) * nonnegative(
        "liquidation_cost", liquidation_cost, "price per unit held at the horizon"
    )
    start = int(quotes.inventory[start_index(quotes, inventory)])
    if scheme == "bernoulli":
        money, counts, *sample = _bernoulli(market, quotes, paths, seed, start, liquidation, drawdown, sample_paths)
    else:
        money, counts, *sample = _continuous(market, quotes, paths, seed, start, liquidation, drawdown, sample_paths)
    spread, revaluation, tolls, fall = money
    profit = spread + revaluation - tolls
    sample = _sample(quotes, *sample) if sample_paths else None
    held, bids, asks = counts
    return Outcome(profit, held, bids, asks, spread, revaluation, tolls, fall, sample)


def _bernoulli(market, quotes, paths, seed, start, liquidation, drawdown, samples):
    bid, ask, dt = bernoulli_probabilities(market, quotes)
    table = fills(market, quotes)
    spreads = [table.bid_spread + table.ask_spread, table.bid_spread, table.ask_spread, np.zeros(bid.shape)]
    drift, swing = float(market.mu * dt), float(market.sigma * np.sqrt(dt))
    money, counts, wealth, held = kernels.bernoulli(
        seed,
        paths,
        start,
        int(quotes.inventory[0]),
        _thresholds(bid) << np.uint64(32) | _thresholds(ask),
        np.stack(spreads, axis=-1).reshape(len(bid), -1),
        (int(np.abs(quotes.inventory).max()), int(quotes.inventory[table.bid_to[-1]])),
        (quotes.size * drift, quotes.size * swing, float(table.bid_toll[-1]), liquidation),
        bool(drawdown),
        samples,
    )
    signs = [np.where(streams.words(seed, i, kernels.MID, len(bid)) >> 63, 1, -1) for i in range(samples)]
    moves = drift + swing * np.reshape(signs, (samples, len(bid)))
    mid = np.concatenate([np.zeros((samples, 1)), np.cumsum(moves, axis=1)], axis=1)
    return money, counts, wealth, held, mid


def _thresholds(probability):
    return np.rint(probability * 2**31).astype(np.uint64)


def _continuous(market, quotes, paths, seed, start, liquidation, drawdown, samples):
    table = continuous_fills(market, quotes)
    return kernels.continuous(
        seed,
        paths,
        start,
        int(quotes.inventory[0]),
        np.diff(quotes.times, append=quotes.horizon),
        (table.bid_rate, table.ask_rate),
        (table.bid_spread, table.ask_spread),
        (table.bid_toll, table.ask_toll),
        (table.bid_to, table.ask_to),
        (float(market.mu), float(market.sigma), float(market.impact)),
        (float(quotes.size), liquidation),
        bool(drawdown),
        samples,
    )


def _sample(quotes, wealth, held, mid):
    cash = wealth - held * quotes.size * mid
    rows, columns = np.arange(len(quotes.times)), held[:, :-1] - quotes.inventory[0]
    times = np.append(quotes.times, quotes.horizon)
    return Sample(times, mid, held, cash, wealth, quotes.bid[rows, columns], quotes.ask[rows, columns])
