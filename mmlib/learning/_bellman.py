"""A step of the chain of Avellaneda & Stoikov (2008, section 3.3), backwards: the value of quotes, and the best ones.

In a step of length dt the bid fills with probability pb = min(1, A exp(−k δb) dt), the ask independently with pa, then
the mid moves mu dt ± sigma √dt on the new inventory. A fill earns g = δ − fee. Two objectives of the profit:

**Penalty**, E[profit − phi Σ q'² dt − alpha q_T²]. With U(q) = V(q) + mu q dt − phi q² dt after the fills,

    V_i(q) = U(q) + pb (gb + U(q+1) − U(q)) + pa (ga + U(q−1) − U(q)) + pb pa c(q),   c = 2 U(q) − U(q+1) − U(q−1),

and for a given ask the best bid is δb = 1/k + fee − [(1−pa)(U(q+1) − U(q)) + pa (U(q) − U(q−1))].

**CARA**, w = E exp(−gamma profit). With W(q) = exp(−gamma mu q dt) cosh(gamma sigma √dt q) w(q) after the fills,

    w_i = (1−pb)(1−pa) W(q) + pb (1−pa) e^(−γ gb) W(q+1) + (1−pb) pa e^(−γ ga) W(q−1) + pb pa e^(−γ(gb+ga)) W(q),

and δb = fee + ln(1 + γ/k)/γ + ln(X/Y)/γ, X = (1−pa) W(q+1) + pa e^(−γ ga) W(q), Y = (1−pa) W(q) + pa e^(−γ ga) W(q−1).
All in logarithms: w spans more than a double's range.

The ask mirrors the bid. Arrays are over the inventories −Q … Q, with any axes before; a side that would leave the grid
is not quoted (NaN).
"""

from dataclasses import dataclass

import numpy as np

from mmlib.checks import nonnegative, positive
from mmlib.market_making import Market

ROUNDS = 1000  # of alternating best answers, each closer by a factor of at most pb·pa


def step_length(market, horizon, steps):
    """dt = horizon/steps; ValueError if the market is no `Market` without impact, or A·dt > 1."""
    if not isinstance(market, Market):
        raise ValueError(f"market must be a Market (exponential fills, the same on both sides); got {market!r}")
    if market.impact != 0:
        raise ValueError(f"impact must be 0 in the chain (two fills of a step have no order); got {market.impact!r}")
    dt = positive("horizon", horizon, "end of trading, time") / steps
    if market.A * dt > 1:
        raise ValueError(
            f"steps must be >= {int(np.ceil(market.A * horizon))}, so that the fill probability A·dt at the mid is"
            f" <= 1; got {steps}, A·dt = {market.A * dt:.4g}"
        )
    return dt


def objective(market, gamma, phi, alpha):
    """The `Penalty` or the `Cara` that the arguments name; ValueError unless it is exactly one."""
    if (gamma is None) == (phi is None):
        raise ValueError(f"gamma (CARA) or phi (penalty) must be given, one of them; got {gamma!r} and {phi!r}")
    alpha = nonnegative("alpha", alpha, "final penalty, currency/units²")
    if phi is not None:
        return Penalty(market, nonnegative("phi", phi, "running penalty, currency/(units² time)"), alpha)
    if alpha != 0:
        raise ValueError(f"alpha must be 0 with gamma (it is the penalty's); got {alpha!r}")
    return Cara(market, positive("gamma", gamma, "risk aversion, 1/currency"))


def probability(market, distance, dt):
    """min(1, A exp(−k δ) dt), 0 where a side is not quoted; shape of `distance`."""
    return np.where(np.isnan(distance), 0.0, np.minimum(1.0, market.A * dt * np.exp(-market.k * distance)))


def neighbours(values):
    """Values at q + 1 and at q − 1, NaN beyond the grid."""
    edge = np.full((*values.shape[:-1], 1), np.nan)
    return np.concatenate([values[..., 1:], edge], -1), np.concatenate([edge, values[..., :-1]], -1)


def quoted(term):
    """`term`, and nothing for a side that is not quoted."""
    return np.where(np.isnan(term), 0.0, term)


@dataclass(frozen=True)
class Penalty:
    """E[profit − phi Σ q² dt − alpha q_T²], in currency."""

    market: Market
    phi: float
    alpha: float

    rounding = 0.0  # of an answer, beside its own last digits

    def final(self, q):
        return -self.alpha * q**2

    def held(self, q, dt):
        """What holding `q` over a step adds, the mid's noise integrated out."""
        return self.market.mu * q * dt - self.phi * q**2 * dt

    def currency(self, value):
        return value

    def step(self, U, bid, ask, dt):
        """V of the quotes of a step, from U."""
        up, down = neighbours(U)
        pb, pa = probability(self.market, bid, dt), probability(self.market, ask, dt)
        bid_gain, ask_gain = bid - self.market.fee + up - U, ask - self.market.fee + down - U
        return U + quoted(pb * bid_gain) + quoted(pa * ask_gain) + quoted(pb * pa * (2 * U - up - down))

    def slopes(self, U, bid, ask, dt):
        """Probabilities of going up and down, and the derivatives of a step's value in the bid and in the ask."""
        market, (up, down) = self.market, neighbours(U)
        pb, pa = probability(market, bid, dt), probability(market, ask, dt)
        rise, fall = quoted(up - U), quoted(down - U)
        by_bid = bid - market.fee + (1 - pa) * rise - pa * fall
        by_ask = ask - market.fee + (1 - pb) * fall - pb * rise
        slopes = [quoted(p * (1 - market.k * (p < 1) * gain)) for p, gain in ((pb, by_bid), (pa, by_ask))]
        return pb * (1 - pa), pa * (1 - pb), *slopes

    def answer(self, U, to, other_to, other, p):
        """Best distance of the side that leads to the values `to`, if the `other` one fills with probability p."""
        gain = np.where(p > 0, (1 - p) * (to - U) + p * (U - other_to), to - U)
        return 1 / self.market.k + self.market.fee - gain


@dataclass(frozen=True)
class Cara:
    """ln E exp(−gamma profit)."""

    market: Market
    gamma: float

    @property
    def rounding(self):
        """Of an answer, price: that of logarithms of order 1, over gamma."""
        return 16 * np.finfo(float).eps / self.gamma

    def final(self, q):
        return 0.0 * q

    def held(self, q, dt):
        swing = np.abs(self.gamma * self.market.sigma * np.sqrt(dt) * q)
        return -self.gamma * self.market.mu * dt * q + swing + np.log1p(np.exp(-2 * swing)) - np.log(2)

    def currency(self, log):
        return -log / self.gamma

    def outcomes(self, log_W, bid, ask, dt):
        """Logarithms of the terms of w_i/W(q): no fill, a bid's, an ask's, both."""
        up, down = neighbours(log_W)
        pb, pa = probability(self.market, bid, dt), probability(self.market, ask, dt)
        bid_log, ask_log = -self.gamma * (bid - self.market.fee), -self.gamma * (ask - self.market.fee)
        with np.errstate(divide="ignore"):
            return [
                np.log((1 - pb) * (1 - pa)),
                np.log(pb * (1 - pa)) + quoted(bid_log + up - log_W),
                np.log((1 - pb) * pa) + quoted(ask_log + down - log_W),
                np.log(pb * pa) + quoted(bid_log + ask_log),
            ]

    def step(self, log_W, bid, ask, dt):
        return log_W + np.logaddexp.reduce(self.outcomes(log_W, bid, ask, dt))

    def slopes(self, log_W, bid, ask, dt):
        """As the penalty's, the certainty equivalent's derivatives, probabilities tilted by exp(−gamma profit)."""
        outcomes = np.array(self.outcomes(log_W, bid, ask, dt))
        none, up, down, both = np.exp(outcomes - np.logaddexp.reduce(outcomes))
        k, gamma, slopes = self.market.k, self.gamma, []
        for distance, fill, rest in ((bid, up + both, none + down), (ask, down + both, none + up)):
            p = probability(self.market, distance, dt)
            odds = np.divide(p, 1 - p, out=np.zeros_like(p), where=p < 1)
            slopes.append(fill + np.where(p < 1, k / gamma * (fill - odds * rest), 0.0))
        return up, down, *slopes

    def answer(self, log_W, to, other_to, other, p):
        with np.errstate(divide="ignore", invalid="ignore"):  # ln 0; and `to` is NaN beyond the grid
            stay = np.log(1 - p)
            fill = np.where(p > 0, np.log(p) - self.gamma * (other - self.market.fee), -np.inf)
            X = np.logaddexp(stay + to - log_W, fill)
            Y = np.logaddexp(stay, np.where(p > 0, fill + other_to - log_W, -np.inf))
            return self.market.fee + (np.log1p(self.gamma / self.market.k) + X - Y) / self.gamma


def best(rule, after, dt, low=-np.inf, high=np.inf):
    """Best bid and ask distances in [low, high] of a step, from the values after its fills, by alternating answers.

    Each answer is the best one to the other side, so the objective only rises. No side asks for more than a sure fill:
    δ >= ln(A dt)/k.

    Raises
    ------
    ValueError
        If the answers have not settled after ROUNDS rounds.
    """
    market, (up, down) = rule.market, neighbours(after)
    low = max(low, np.log(market.A * dt) / market.k)
    bid = ask = np.full(after.shape, np.nan)
    for _ in range(ROUNDS):
        old = np.stack([bid, ask])
        bid = np.clip(rule.answer(after, up, down, ask, probability(market, ask, dt)), low, high)
        ask = np.clip(rule.answer(after, down, up, bid, probability(market, bid, dt)), low, high)
        close = np.maximum(1e-13 * np.maximum(1 / market.k, np.abs(old)), rule.rounding)
        moved = np.abs(np.stack([bid, ask]) - old) > close
        if not np.any(moved | (np.isnan(old) & ~np.isnan([bid, ask]))):
            return bid, ask
    raise ValueError(f"the best bid and ask of a step have not settled in {ROUNDS} rounds; steps must be more")


def jointly_concave(penalty, U, dt):
    """Where a step is jointly concave in the (pb, pa) that can be best, so that settled answers are its maximum.

    p (δ(p) + …) has second derivative −1/(k p), the mixed one is c: concave where k |c| √(pb pa) < 1. Whatever pa, the
    best bid is at least 1/k + fee − max(U(q+1) − U(q), U(q) − U(q−1)) away, which bounds pb; and likewise pa.
    """
    market, (up, down) = penalty.market, neighbours(U)
    rise, fall = np.fmax(up - U, U - down), np.fmax(down - U, U - up)
    nearest = np.log(market.A * dt) / market.k
    most = [probability(market, np.maximum(1 / market.k + market.fee - gain, nearest), dt) for gain in (rise, fall)]
    return market.k * np.abs(quoted(2 * U - up - down)) * np.sqrt(most[0] * most[1]) < 1


def bound_apart(penalty, U, dt):
    """Upper bound of a step: the best of each side for itself, and the most that filling both could add."""
    market, (up, down) = penalty.market, neighbours(U)
    total = U + np.maximum(quoted(2 * U - up - down), 0.0)
    for to in (up, down):
        distance = np.maximum(1 / market.k + market.fee - (to - U), np.log(market.A * dt) / market.k)
        total += quoted(probability(market, distance, dt) * (distance - market.fee + to - U))
    return total


def values(rule, quotes, dt):
    """Values of `quotes` at the start of each step and at the horizon, shape (n + 1, m), as the rule counts them."""
    q = quotes.inventory.astype(float)
    value = np.empty((len(quotes.times) + 1, len(q)))
    value[-1] = rule.final(q)
    for i in range(len(quotes.times) - 1, -1, -1):
        value[i] = rule.step(value[i + 1] + rule.held(q, dt), quotes.bid[i], quotes.ask[i], dt)
    return value
