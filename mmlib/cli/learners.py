"""What `train` trains, and how what it learned is judged: by its regret, exactly, where the optimum is known."""

import io
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from pandas import DataFrame
from scipy.optimize import minimize_scalar

from mmlib.chapter import table
from mmlib.checks import choice
from mmlib.learning import environment, glass_box, policy_gradient, ppo, saved
from mmlib.market_making import Market, Quotes, cartea_jaimungal, evaluate, glft, strategies

ENVIRONMENTS = 1024  # side by side, for PPO
BATCH = 400  # episodes of each of the eight policies of a round of the evolution strategy
GRID = ("horizon", "steps", "max_inventory")


class Judged(NamedTuple):
    """A title, a table with a row a policy, lines to print below it; the bytes of the policy and of a picture."""

    title: str
    table: DataFrame
    notes: list[str]
    policy: bytes
    picture: bytes


class Training(NamedTuple):
    """A checked training: `learn(watch, start)`, what it counts, and `judge` of what it returns."""

    unit: str
    learn: Callable[[Any, Any], Any]
    judge: Callable[[Any], Judged]


def in_environment(algorithm: str, given: dict[str, Any], timesteps: int, seed: int) -> Training:
    """PPO or the exact gradient in the chain."""
    market = Market(**{name: given[name] for name in ("sigma", "A", "k", "mu", "fee")})
    grid = {name: given[name] for name in GRID}
    if "gamma" in given:
        if "phi" in given or "alpha" in given:
            raise ValueError("gamma (risk aversion) or phi and alpha (penalties) may be given, not both")
        aims = {"gamma": given["gamma"]}
    else:
        phi = 0.05 * market.sigma**2
        aims = {"phi": given.get("phi", phi), "alpha": given.get("alpha", 0.0)}
    best = environment.optimum(market, **grid, **aims)
    if algorithm == "gradient":
        if "reward" in given or "high" in given:
            raise ValueError("reward and high are parameters of ppo; the exact gradient has no rewards and no box")
        settings = dict(**grid, **aims, rounds=timesteps, seed=seed)

        def learn(watch, start):
            found = policy_gradient.network(market, **settings, watch=watch, start=start)
            return found.quotes, saved.pack_quotes(found.quotes, market)

        return Training("evaluations", learn, lambda found: _judged(found, market, best, aims, []))
    reward = choice("reward", given.get("reward", "centred"), environment_rewards())
    high = given.get("high", 2.25 / market.k)
    # under risk aversion the penalty ½ γ σ² is learned, which loses little and has rewards that add up
    penalties = aims if "phi" in aims else {"phi": 0.5 * aims["gamma"] * market.sigma**2}
    scale = max(1.0, given["max_inventory"] / 10)
    env = environment.MarketMakingVectorEnv(
        ENVIRONMENTS, market, **grid, **penalties, reward=reward, low=0.0, high=high, scale=scale
    )
    income = 2 * market.A * env.rules.dt * np.exp(-market.k * market.fee) / (math.e * market.k)

    def learn_ppo(watch, start):
        offset = income if reward == "realised" else 0.0
        policy = ppo.train(env, timesteps, seed, offset=offset, watch=watch, start=start)
        return environment.quotes(env, policy), ppo.pack(policy)

    boxed = environment.optimum(market, **grid, **aims, low=0.0, high=high)
    cost = 1 - _worth(market, boxed, aims) / _worth(market, best, aims)
    notes = [f"the best quotes in the box 0 to {high:.4g} lose {_percent(cost)} %"]
    return Training("steps", learn_ppo, lambda found: _judged(found, market, best, aims, notes))


def environment_rewards() -> tuple[str, ...]:
    """Rewards that `train` offers: centred both, the one with fills by their probability, the other as they happen."""
    return ("centred", "realised")


def _worth(market, quotes, aims):
    if "gamma" in aims:
        return evaluate.certainty_equivalent(market, quotes, aims["gamma"], scheme="bernoulli")
    return evaluate.penalised(market, quotes, aims["phi"], aims["alpha"])


def _percent(share):
    return f"{100 * share:.3g}" if abs(share) > 1e-8 else "less than .000001"


def _judged(found: tuple[Quotes, bytes], market, best, aims, notes):
    learned, content = found
    grid = dict(horizon=best.horizon, steps=len(best.times), max_inventory=int(best.inventory[-1]))
    if "gamma" in aims:
        name, classical = "Guéant–Lehalle–Fernandez-Tapia", glft.quotes(market, gamma=aims["gamma"], **grid)
    else:
        name, classical = "Cartea–Jaimungal–Penalva", cartea_jaimungal.quotes(market, **aims, **grid)

    def constant(half_spread):
        return strategies.constant_spread(half_spread, grid["horizon"], grid["max_inventory"], grid["steps"])

    widest = market.fee + 6 / market.k
    half = minimize_scalar(
        lambda x: -_worth(market, constant(x), aims), bounds=(0.01 / market.k, widest), options=dict(xatol=1e-6)
    )
    rows = {"learned": learned, "optimum": best, name: classical, "best constant spread": constant(half.x)}
    bracket = environment.bracket(market, best, **aims)
    proven = f"the optimum is proven to {max(bracket.bound - bracket.value, 1e-9):.0e}"
    notes = [*notes, proven if bracket.proven else f"{proven}, if each step's best answers are its maximum"]
    values = np.array([_worth(market, quotes, aims) for quotes in rows.values()])
    aim = ", ".join(f"{key} {value:.4g}" for key, value in aims.items() if value)
    title = f"sigma {market.sigma:.4g}, A {market.A:.4g}, k {market.k:.4g}; {aim}; {grid['steps']} steps"
    shown = np.flatnonzero(evaluate.moments(market, best).inventory_law > 1e-4)
    panels = {}
    for share in (0.5, 0.95):
        i = int(share * grid["steps"])
        panels[f"at {100 * share:.0f} % of the time"] = [
            (table.inventory[shown], table.bid[i, shown], table.ask[i, shown]) for table in (learned, best)
        ]
    return Judged(title, _table(rows, values), notes, content, drawn(panels))


def _table(rows, values):
    """Regret, the share of the gap from the last row that is closed, value; the second row is the optimum."""
    top, bottom = values[1], values[-1]
    regret = 100 * (1 - values / top) if top > 0 else np.full(len(values), np.nan)
    closed = 100 * (values - bottom) / (top - bottom) if top > bottom else np.full(len(values), np.nan)
    return table(
        {"": rows, "regret, %": regret + 0.0, "of the gap closed, %": closed, "value": values},
        decimals={"regret, %": 4, "of the gap closed, %": 2, "value": 4},
    )


def in_glass_box(algorithm: str, given: dict[str, Any], timesteps: int, seed: int) -> Training:
    """The evolution strategy or the bandit, which sets a risk aversion in each of two regimes of volatility."""
    up, down, gamma = given["rate_up"], given["rate_down"], given["gamma"]
    regimes = glass_box.Regimes(np.array([given["low"], given["high"]]), np.array([[-up, up], [down, -down]]))
    market = Market(regimes.mean_sigma, given["A"], given["k"])
    grid = {name: given[name] for name in GRID}
    best = glass_box.optimum(market, regimes, gamma=gamma, **grid)
    rounds = -(-timesteps // ((1 if algorithm == "bandit" else 8) * BATCH * given["steps"]))
    agent = glass_box.bandit if algorithm == "bandit" else glass_box.learn

    def learn(watch, start):
        return agent(market, regimes, gamma, rounds=rounds, batch=BATCH, seed=seed, watch=watch, start=start, **grid)

    def judge(found):
        sigma, same = regimes.mean_sigma, [gamma, gamma]
        rules = {
            "learned": (sigma, found.gammas), "optimum": None,
            "best pair of gammas": (sigma, glass_box.best_gammas(market, regimes, gamma, **grid)),
            "today's sigma, own gamma": (regimes.sigma, same),
            "best single gamma": (sigma, glass_box.best_gammas(market, regimes, gamma, shared=True, **grid)),
            "mean sigma, own gamma": (sigma, same),
        }  # fmt: skip
        tables = {n: best if r is None else glass_box.formula(market, *r, **grid) for n, r in rules.items()}
        values = np.array([glass_box.certainty_equivalent(market, regimes, t, gamma) for t in tables.values()])
        title = (
            f"A {market.A:.4g}, k {market.k:.4g}; sigma {given['low']:.4g} and {given['high']:.4g}; gamma {gamma:.4g}"
        )
        notes = [f"learned gammas: {found.gammas[0]:.4g} in the calm regime, {found.gammas[1]:.4g} in the other"]
        if found.bounds is not None:
            adds = " and ".join(f"{bound:.2g}" for bound in found.bounds)
            notes.append(
                f"another arm in one regime alone adds at most {adds}, at 4 standard errors"
                if np.all(np.isfinite(found.bounds))
                else "what another arm adds is not known: a few losses carry the mean of exp(-gamma profit)"
            )
        i, q = given["steps"] // 2, best.inventory
        shown = np.abs(q) <= min(given["max_inventory"], 8)
        panels = {
            f"half-way, sigma {sigma:.4g}": [
                (q[shown], t.bid[i, r, shown], t.ask[i, r, shown]) for t in (tables["learned"], best)
            ]
            for r, sigma in enumerate(regimes.sigma)
        }
        arrays = {"gammas": found.gammas, "sigma": regimes.sigma, "generator": regimes.generator}
        about = {"gamma": gamma, "A": market.A, "k": market.k, "seed": seed, "episodes": found.episodes} | grid
        return Judged(title, _table(rules, values), notes, saved.pack("gammas", arrays, about), drawn(panels))

    return Training("turns" if algorithm == "bandit" else "rounds", learn, judge)


def drawn(panels: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]], second: str = "optimum") -> bytes:
    """A PNG picture: by title the inventory, bids and asks of what was learned, and of what it is held against."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from mmlib import plotting

    plotting.style()
    figure = Figure(figsize=(10, 4))
    FigureCanvasAgg(figure)
    for ax, (title, tables) in zip(np.ravel(figure.subplots(1, len(panels), sharey=True)), panels.items(), strict=True):
        for (q, bid, ask), name in zip(tables, ("learned", second), strict=False):
            look: dict[str, Any] = {"linestyle": "-" if name == "learned" else ":"}
            ax.plot(q, bid, color=plotting.BID, label=f"bid, {name}", **look)
            ax.plot(q, ask, color=plotting.ASK, label=f"ask, {name}", **look)
        ax.locator_params("x", integer=True)
        ax.set(xlabel="inventory, orders", ylabel="distance from the mid, price", title=title)
    ax.legend(fontsize=9)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100, metadata={"Software": None})
    return out.getvalue()
