"""What a book that has run was paid, and for what; `replay` has the rules."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmlib.checks import integer, number
from mmlib.order_book._kernels import replay as kernels


def fills(state: np.ndarray, which: int = 0) -> pd.DataFrame:
    """Fills of a book: time_ns, side (+1 bought), tick, size (lots), mid (half ticks, before), waited_ns, taker."""
    s = state[which]
    n = int(s["fills"])
    return pd.DataFrame(
        {
            "time_ns": s["fill_time"][:n],
            "side": s["fill_side"][:n],
            "tick": s["fill_tick"][:n],
            "size": s["fill_size"][:n],
            "mid": s["fill_mid"][:n],
            "waited_ns": s["fill_waited"][:n],
            "taker": s["fill_taker"][:n].astype(bool),
        }
    )


@dataclass(frozen=True, eq=False)
class Report:
    """What a replay earned, and of what; money in currency, spread + markout + holding − fees = profit exactly.

    Attributes
    ----------
    profit : float
        Cash and the position at the last mid, less fees.
    spread : float
        Distance of the fills from the mid before them.
    markout : float
        What the mid did in `horizon` after the fills, to the position they made: adverse selection where negative.
    holding : float
        What it did after that.
    fees : float
        Of makers and takers.
    position : float
        Units held at the end.
    fills : DataFrame
        As `fills`, with `markout` (currency a unit, after `horizon`).
    path : DataFrame
        time_ns, profit (currency, before fees), position (units), mid (currency): at each fill and at the end.
    curve : DataFrame
        The same at the beginning and every second after it, with the profit after fees; NaN while there is no mid.
    """

    profit: float
    spread: float
    markout: float
    holding: float
    fees: float
    position: float
    fills: pd.DataFrame
    path: pd.DataFrame
    curve: pd.DataFrame


def pay(
    feed: np.ndarray,
    state: np.ndarray,
    *,
    tick: float,
    horizon: int = 1_000_000_000,
    maker_fee: float = 0.0,
    taker_fee: float = 0.0,
    which: int = 0,
) -> Report:
    """The profit of a book that has run, with m the mid of the exchange just before what filled, s = ±1:

        profit = Σ s (m_i − p_i) + Σ s (m_{i+h} − m_i) + Σ s (m_end − m_{i+h}) − fees,

    in whole half ticks and lots, so that the parts add up exactly.

    Parameters
    ----------
    feed, state, which
        As for `fills`.
    tick : float
        Currency, as given to `feed`.
    horizon : int
        h of the markout, ns; beyond the end of the data it ends there.
    maker_fee, taker_fee : float
        Share of the value traded; negative for a rebate.
    """
    h = integer("horizon", horizon, least=0, meaning="ns")
    fees = {name: number(name, value, "share of the value") for name, value in
            (("maker_fee", maker_fee), ("taker_fee", taker_fee))}  # fmt: skip
    done = fills(state, which)
    bid, ask = kernels.touches(feed, _fresh(feed, state, which))
    quoted = np.flatnonzero((bid != kernels.NO_BID) & (ask != kernels.NO_ASK))
    if not len(quoted):
        lot = float(state["lot"][which])
        raise ValueError(f"feed must have a bid and an ask at once, of a lot ({lot:g}) at least; it never has")
    mids, times = (bid + ask)[quoted], feed["ts"][quoted]
    side, size, price = (done[name].to_numpy() for name in ("side", "size", "tick"))
    later = mids[np.searchsorted(times, done["time_ns"].to_numpy() + h, side="right") - 1]
    end, signed, before = mids[-1], side * size, done["mid"].to_numpy()
    unit = 0.5 * tick * float(state["lot"][which])
    parts = [int(np.sum(signed * x)) for x in (before - 2 * price, later - before, end - later)]
    rate = np.where(done["taker"], fees["taker_fee"], fees["maker_fee"])
    paid = 2 * unit * float(np.sum(rate * price * size))
    done["markout"] = 0.5 * tick * side * (later - before)
    held, cash = np.cumsum(signed), -np.cumsum(2 * signed * price)
    last = int(held[-1]) if len(held) else 0
    path = pd.DataFrame(
        {
            "time_ns": np.append(done["time_ns"], feed["ts"][-1]),
            "profit": unit * np.append(cash + held * before, sum(parts)),
            "position": float(state["lot"][which]) * np.append(held, last),
            "mid": 0.5 * tick * np.append(before, end),
        }
    )
    grid = np.arange(feed["ts"][0], feed["ts"][-1] + 1, 10**9)
    so_far, now = (np.searchsorted(t, grid, side="right") for t in (done["time_ns"], times))
    held, cash, toll = (np.append(0, x)[so_far] for x in (held, cash, np.cumsum(2 * unit * rate * price * size)))
    quoted_mid = np.append(np.nan, mids)[now]
    value = unit * (cash + held * quoted_mid) - toll
    columns = (grid, value, float(state["lot"][which]) * held, 0.5 * tick * quoted_mid)
    curve = pd.DataFrame(dict(zip(path, columns, strict=True)))
    spread, markout, holding = (unit * part for part in parts)
    return Report(
        profit=unit * sum(parts) - paid, spread=spread, markout=markout, holding=holding, fees=paid,
        position=float(state["lot"][which]) * last, fills=done, path=path, curve=curve,
    )  # fmt: skip


def _fresh(feed, state, which):
    """A record like that of `state` before its first row."""
    fresh = np.zeros(1, state.dtype)
    for name in ("lot", "lowest"):
        fresh[name] = state[name][which]
    fresh["bid"], fresh["ask"] = kernels.NO_BID, kernels.NO_ASK
    return fresh[0]
