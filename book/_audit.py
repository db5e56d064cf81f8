"""Writes book/audit.md and book/errata.md from data/published/*.csv and mmlib: `python book/_audit.py`.

The audit prints every published number the project covers beside our values by two routes; the errata measure what
mistakes in print and in programs cost. Both pages are committed, and a test holds them to this script.
"""

import csv
import json
from collections import Counter
from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy.linalg import expm
from scipy.stats import poisson

from mmlib import chapter
from mmlib.market_making import (
    Market,
    Quotes,
    avellaneda_stoikov,
    cartea_jaimungal,
    evaluate,
    glft,
    liquidation,
    simulate,
    strategies,
)
from mmlib.market_making._exponential import constants

BOOK = Path(__file__).parent
SOURCES = {
    "avellaneda_stoikov_2008": (
        "Avellaneda & Stoikov (2008), High-frequency trading in a limit order book",
        "Tables: exact moments of the paper's scheme, and 20,000 simulated paths of it; z compares the printed cell "
        "with the exact value at the paper's 1,000 paths. Continuous time: the solver or evaluator, and the "
        "evaluator or the simulator. Spread: the average over time; over the starts of the paper's 200 steps it is "
        "wider by gamma sigma² dt/2, which is 0.01 in Table 3; that is what our symmetric strategy quotes.",
    ),
    "certainty_equivalents": (
        "Certainty equivalents at the parameters of Avellaneda & Stoikov (2008)",
        "Value function, or exact evaluation of tables extrapolated to continuous quotes; and 20,000 simulated paths.",
    ),
    "folk_formula": (
        "A wrong first-order condition (errata, 5) beside the right one",
        "Exact evaluation of tables extrapolated to continuous quotes; and 20,000 simulated paths, or the value "
        "function. A simulation gives no certainty equivalent of the formula: a few bad paths make it.",
    ),
    "glft_2013": (
        "Guéant, Lehalle & Fernandez-Tapia (2013), Dealing with the inventory risk; and the hftbacktest tutorial",
        "Extrapolated implicit Euler on log-ratios; and SciPy's dense matrix exponential (up to 61 inventories), or "
        "the closed formula in plain arithmetic.",
    ),
    "gueant_2017": ("Guéant (2017), Optimal market making, credit indices", "As above; model A."),
    "cartea_jaimungal_penalva_2015": (
        "Cartea, Jaimungal & Penalva (2015), Algorithmic and High-Frequency Trading, chapter 10",
        "Extrapolated implicit Euler on log-ratios and LAPACK's tridiagonal eigenvalue; and SciPy's dense exponential "
        "and eigenvalue of the matrix in the book.",
    ),
    "fernandez_tapia_2015": (
        "Fernandez-Tapia (2015), Modeling, optimization and estimation for the on-line control of trading algorithms",
        "Short exact steps on log-ratios; and SciPy's dense exponential of the thesis's equation.",
    ),
}
RULES = {
    "inventory": avellaneda_stoikov.quotes,
    "symmetric": avellaneda_stoikov.symmetric_quotes,
    "avellaneda_stoikov": avellaneda_stoikov.quotes,
    "exact": glft.quotes,
    "glft": glft.quotes,
    "closed_form": glft.closed_form_quotes,
    "tanh": glft.tanh_quotes,
    "folk": strategies.wrong_folk_formula,
}
GRADES = {"P": "Printed", "D": "Derived"}
SYMBOLS = {
    **{
        "sigma": "σ",
        "gamma": "γ",
        "mu": "μ",
        "phi": "φ",
        "alpha": "α",
        "horizon": "T",
        "max_inventory": "Q",
        "size": "Δ",
    },
    **{"penalty": "b", "rule": "", "strategy": ""},
}
QUANTITIES = {"s": "skew s", "c1": "mark-up c₁"}
NAMES = {"profit_mean": "mean", "profit_std": "std"}


def main():
    for name, text in (("audit.md", audit()), ("errata.md", errata())):
        (BOOK / name).write_text(text, encoding="utf-8")


def rows(source):
    with (BOOK.parent / f"data/published/{source}.csv").open() as file:
        return list(csv.DictReader(file))


# The audit


def audit():
    """The page, as text."""
    judged = {source: [judge(line) for line in rows(source)] for source in SOURCES}
    every = [row for found in judged.values() for row in found]
    out = [
        "# Audit of published numbers",
        "",
        *(f"**{headline(every, grade)}**" if grade == "P" else headline(every, grade) for grade in "PD"),
        "",
        "Each number stands beside what our code gives by two routes that share no code, or by one where there is",
        "no second: a dash. *Printed* is what the source prints; *derived* was computed from a source's formulas, by",
        "us and by others, to the digits shown. A printed Monte Carlo cell is judged by its z-score, with the exact",
        "fourth moment of what it estimates, against the exact value: *consistent* below 3. Any other number is judged",
        "by its error, the larger of the two routes', rounded up to a power of ten: *reproduced* within half a unit of",
        "the last digit given, or 1e-8/k where more digits are given than the solver promises; *last digit differs*",
        "within one unit. A second route that is simulated is no error of ours; it must be within four of its standard",
        "errors. This page is written by `book/_audit.py` from the files in `data/published` that the tests read too.",
        "What is wrong in print is on the [errata](errata.md) page, symbols on the [notation](notation.md) page.",
        "",
    ]
    for source, (title, routes) in SOURCES.items():
        every = [row["parameters"] for row in judged[source]]
        common = [name for name, value in every[0].items() if all(p.get(name) == value for p in every)]
        stated = listed(every[0], common)
        out += [f"## {title}", "", routes + (f" All at {stated}." if stated else ""), ""]
        places = dict.fromkeys((row["grade"], row["where"]) for row in judged[source])
        for grade, where in places:
            group = [row for row in judged[source] if (row["grade"], row["where"]) == (grade, where)]
            out += [f"**{GRADES[grade]}: {where}**", "", "| verdict | number | given | ours | second route |"]
            out += ["|---|---|--:|--:|--:|"]
            out += [table_row(row, common) for row in group]
            out.append("")
    return "\n".join(out)


def headline(every, grade):
    """How many numbers of a grade there are, and how many of each verdict."""
    verdicts = Counter(row["verdict"].split(",")[0] for row in every if row["grade"] == grade)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items(), key=lambda x: -x[1]))
    return f"{verdicts.total()} {GRADES[grade].lower()} numbers: {counts}."


def listed(parameters, names):
    """Parameters as text, without those of the table and of the simulation."""
    named = [n for n in names if n not in ("inventory", "paths", "steps")]
    return ", ".join(f"{SYMBOLS.get(n, n)} {parameters[n]}".strip().replace("_", " ") for n in named)


def table_row(row, common):
    p = row["parameters"]
    own = listed(p, [name for name in p if name not in common])
    number = ", ".join(x for x in (row["quantity"], own) if x)
    return f"| {row['verdict']} | {number} | {row['value']} | {row['first']} | {row['second']} |"


def judge(row):
    """A line of a file with its parameters, what the two routes give, and the verdict, all as text."""
    p, printed = json.loads(row["parameters"]), float(row["value"])
    first, second, error_of_second, se = both_routes(row["quantity"], p, row["key"])
    if row["tolerance"] == "":
        z = (printed - first) / se
        verdict = f"{'consistent' if abs(z) < 3 else 'differs'}, z {z + 0:.2f}".replace("-", "−").replace(
            "−0.00", "0.00"
        )
    else:
        half_unit = max(float(row["tolerance"]), 4e-16 * abs(printed))
        allowed = max(half_unit, 1e-8 / p["k"] if row["grade"] == "D" else 0.0)
        error = abs(first - printed)
        if second is not None and error_of_second is None:
            error = max(error, abs(second - printed))
        exponent = int(np.ceil(np.log10(max(error, 1e-12, 1e-9 / p["k"]))))
        verdict = "reproduced" if error <= allowed else "last digit differs" if error <= 2 * half_unit else "differs"
        if error_of_second is not None and abs(second - printed) > 4 * error_of_second:
            verdict = "differs"
        verdict += f", < 1e{exponent}"
        if second is None:
            verdict += ", one route"
    if "erratum" in row["where"]:
        verdict += ", [erratum](errata.md)"
    quantity = QUANTITIES.get(row["quantity"], row["quantity"].replace("_", " "))
    return dict(
        verdict=verdict,
        quantity=quantity + (f" at q = {p['inventory']}" if "inventory" in p else ""),
        parameters=p,
        value=row["value"],
        first=digits(first, row["value"]),
        second="—" if second is None else digits(second, row["value"], error_of_second),
        grade=row["grade"],
        where=row["where"],
    )


def digits(x, printed, error=None):
    """x to the digits printed plus one, at most 8 significant; with its standard error in its last digits if any."""
    if error is not None:
        return chapter.uncertain(x, error)
    mantissa = printed.lower().split("e")[0].lstrip("-").replace(".", "").lstrip("0")
    return f"{x:.{min(len(mantissa) + 1, 8)}g}"


def both_routes(quantity, p, key):
    """Our value, the second one or None, the standard error of the second if simulated, that of a printed cell."""
    if "penalty" in p:
        return liquidation_routes(p)
    if "alpha" in p or "phi" in p:
        return cartea_jaimungal_routes(quantity, p)
    if quantity in ("bid", "ask"):
        return quote_routes(quantity, p)
    if quantity in ("c1", "s", "closed_form_spread", "closed_form_bid", "half_spread", "skew", "over_skew"):
        return formula_routes(quantity, p)
    return moment_routes(quantity, p)


def liquidation_routes(p):
    q, k, gamma = p["inventory"], p["k"], p["gamma"]
    market = Market(p["sigma"], p["A"], k, mu=p["mu"])
    ours = liquidation.quotes(
        market, gamma=gamma, horizon=p["horizon"], inventory=q, penalty=p["penalty"], steps=1
    ).ask[0, q]
    c1, eta = np.log(1 + gamma / k) / gamma, p["A"] * (1 + gamma / k) ** -(1 + k / gamma)
    n = np.arange(q + 1)
    M = np.diag(-0.5 * k * gamma * p["sigma"] ** 2 * n**2 + k * p["mu"] * n) + np.diag(np.full(q, eta), -1)
    w = expm(M * p["horizon"]) @ np.exp(-k * n * p["penalty"])
    return ours, np.log(w[q] / w[q - 1]) / k + c1, None, None


def cartea_jaimungal_routes(quantity, p):
    market, Q, k = Market(0.0, p["A"], p["k"]), p["max_inventory"], p["k"]
    n = np.arange(-Q, Q + 1)
    side = np.full(2 * Q, p["A"] / np.e)
    K = np.diag(-k * p["phi"] * n**2.0) + np.diag(side, 1) + np.diag(side, -1)
    if quantity == "gain":
        return cartea_jaimungal.gain(market, phi=p["phi"], max_inventory=Q), np.linalg.eigvalsh(K)[-1] / k, None, None
    h = np.log(expm(K * p["horizon"]) @ np.exp(-p["alpha"] * k * n**2)) / k
    i = p["inventory"] + Q
    arguments = {"max_inventory": Q} | {name: p[name] for name in ("phi", "alpha", "horizon")}
    if quantity == "value":
        return cartea_jaimungal.value(market, **arguments)[i], h[i], None, None
    return cartea_jaimungal.quotes(market, **arguments, steps=1).ask[0, i], 1 / k + h[i] - h[i - 1], None, None


def quote_routes(quantity, p):
    Q, size = p["max_inventory"], p.get("size", 1.0)
    quotes = glft.quotes(market_of(p), gamma=p["gamma"], horizon=p["horizon"], max_inventory=Q, steps=1, size=size)
    i = p["inventory"] + Q
    ours = getattr(quotes, quantity)[0, i]
    if Q > 60:
        return ours, None, None, None
    k, x = p["k"], p["gamma"] * size / p["k"]
    n = np.arange(-Q, Q + 1)
    side = np.full(2 * Q, p["A"] * (1 + x) ** -(1 + 1 / x))
    M = np.diag(-0.5 * k * p["gamma"] * p["sigma"] ** 2 * size * n**2.0) + np.diag(side, 1) + np.diag(side, -1)
    log_v = np.log(expm(M * p["horizon"]) @ np.ones(2 * Q + 1))
    j = i + 1 if quantity == "bid" else i - 1
    return ours, np.log(1 + x) / (x * k) + (log_v[i] - log_v[j]) / k, None, None


def formula_routes(quantity, p):
    size, k, gamma = p.get("size", 1.0), p["k"], p["gamma"]
    market, q = market_of(p), p.get("inventory", 0)
    closed = glft.closed_form_quotes(market, gamma=gamma, horizon=1.0, max_inventory=abs(q) + 2, steps=1, size=size)
    i = abs(q) + 2 + q
    slope, x = closed.bid[0, 1] - closed.bid[0, 0], gamma * size / k
    c1 = np.log(1 + x) / (x * k)
    s = np.sqrt(gamma * p["sigma"] ** 2 / (2 * p["A"] * size * k) * (1 + x) ** (1 + 1 / x)) * size
    if quantity == "over_skew":
        early = np.diff(
            avellaneda_stoikov.quotes(market, gamma=gamma, horizon=p["horizon"], max_inventory=2, steps=1).bid[0]
        )[1]
        return early / slope, gamma * p["sigma"] ** 2 * p["horizon"] / s, None, None
    ours, theirs = {
        "c1": (constants(market, gamma, size)[0], c1),
        "s": (slope, s),
        "skew": (slope, s),
        "half_spread": (closed.spread[0, i] / 2, c1 + s / 2),
        "closed_form_spread": (closed.spread[0, i], 2 * c1 + s),
        "closed_form_bid": (closed.bid[0, i], c1 + (2 * q + 1) / 2 * s),
    }[quantity]
    return ours, theirs, None, None


def moment_routes(quantity, p):
    """Moments and certainty equivalents of a rule: exact, and simulated with a standard error."""
    market, gamma = market_of(p), p["gamma"]
    rule = p.get("strategy") or p["rule"]
    name = NAMES.get(quantity, quantity)
    if "steps" in p:
        exact, quotes, outcome = scheme(rule, gamma, p["steps"])
        if name == "spread":
            average = np.mean(quotes.spread[:, 60]) - 0.5 * gamma * p["sigma"] ** 2 * p["horizon"] / p["steps"]
            return average, None, None, None
        profit = name in ("mean", "std")
        sample = outcome.profit if profit else outcome.inventory.astype(float)
        mean = name in ("mean", "inventory_mean")
        spread = exact.std if profit else exact.inventory_std
        found = sample.mean() if mean else sample.std()
        kurtosis = exact.kurtosis if profit else inventory_kurtosis(exact, quotes)
        per_path = spread * (1.0 if mean else np.sqrt((kurtosis - 1) / 4))
        ours = getattr(exact, name)
        printed_error = per_path / np.sqrt(p["paths"]) if "paths" in p else None
        return (0.0 if name == "inventory_mean" else ours), found, per_path / np.sqrt(len(sample)), printed_error
    Q = p.get("max_inventory", limit_of(gamma))
    ours = continuous_limit(rule, gamma, name, Q)
    profit = continuous_sample(rule, gamma, Q).profit
    if name == "mean":
        return ours, profit.mean(), profit.std() / np.sqrt(len(profit)), None
    if name == "std":
        return ours, profit.std(), profit.std() / np.sqrt(2 * len(profit)), None
    if rule in ("exact", "glft"):  # the value function, and its quotes evaluated
        return glft.value(market, gamma=gamma, horizon=1.0, max_inventory=Q)[Q], ours, None, None
    if rule == "folk":
        return ours, None, None, None
    utility = np.exp(-gamma * profit)
    error = utility.std() / utility.mean() / gamma / np.sqrt(len(profit))
    return ours, -np.log(utility.mean()) / gamma, error, None


def inventory_kurtosis(exact, quotes):
    """Of the final inventory, from its exact law."""
    centred = quotes.inventory - exact.inventory_mean
    return exact.inventory_law @ centred**4 / exact.inventory_std**4


def market_of(p):
    return Market(p["sigma"], p["A"], p["k"])


def limit_of(gamma):
    return 30 if gamma >= 0.1 else 45


SIMULATED = 20_000
AS = Market(sigma=2.0, A=140.0, k=1.5)


def made(rule, gamma, limit, steps, market=AS):
    """The quotes of a rule to horizon 1."""
    return RULES[rule](market, gamma=gamma, horizon=1.0, max_inventory=limit, steps=steps)


@cache
def scheme(rule, gamma, steps):
    quotes = made(rule, gamma, 60, steps)
    return (
        evaluate.moments(AS, quotes, "bernoulli"),
        quotes,
        simulate.run(AS, quotes, paths=SIMULATED, seed=7, scheme="bernoulli", drawdown=False),
    )


@cache
def continuous_limit(rule, gamma, name, limit):
    """Richardson's limit of tables of 128, 256, …, 2048 rows, errors dt to dt⁴."""
    values = []
    for steps in (128, 256, 512, 1024, 2048):
        quotes = made(rule, gamma, limit, steps)
        if name == "certainty_equivalent":
            values.append(evaluate.certainty_equivalent(AS, quotes, gamma))
        else:
            values.append(getattr(evaluate.moments(AS, quotes, "continuous"), name))
    values = np.array(values)
    for order in (1, 2, 3, 4):
        values = (2**order * values[1:] - values[:-1]) / (2**order - 1)
    return values[-1]


@cache
def continuous_sample(rule, gamma, limit):
    return simulate.run(AS, made(rule, gamma, limit, 256), paths=SIMULATED, seed=7, scheme="continuous", drawdown=False)


# The errata


def errata():
    """The page, as text: `_errata.txt` with the numbers filled in."""
    return (BOOK / "_errata.txt").read_text(encoding="utf-8").format(**errata_numbers())


def errata_numbers():
    """What each entry costs, by name."""
    gamma = 0.1
    ce = partial(evaluate.certainty_equivalent, AS, gamma=gamma)
    n = {"best": glft.value(AS, gamma=gamma, horizon=1.0, max_inventory=30)[30]}
    n["as_ce"] = continuous_limit("avellaneda_stoikov", gamma, "certainty_equivalent", 30)
    for label, rule in (("right", "exact"), ("folk", "folk")):
        for short, name in (("mean", "mean"), ("std", "std"), ("ce", "certainty_equivalent")):
            n[f"{label}_{short}"] = continuous_limit(rule, gamma, name, 20)
    n["over"] = both_routes("over_skew", dict(sigma=2.0, A=140.0, k=1.5, gamma=gamma, horizon=1.0), "")[0]

    def ask(q, sigma=0.3, gamma=0.05, penalty=3.0):
        return liquidation.quotes(
            Market(sigma, 0.1, 0.3), gamma=gamma, horizon=300.0, inventory=6, penalty=penalty, steps=1
        ).ask[0, q]

    n |= dict(ft_b20=ask(1, penalty=20.0), ft_b20_6=ask(6, penalty=20.0), ft_b20_s3=ask(1, 3.0, penalty=20.0))
    n |= dict(ft_b20_s3_6=ask(6, 3.0, penalty=20.0), ft_01=ask(1, gamma=0.1), ft_05=ask(1, gamma=0.5))
    n |= dict(ft_01_6=ask(6, gamma=0.1), ft_05_6=ask(6, gamma=0.5))
    n |= {f"as_{name}": scheme("inventory", g, 200)[0].mean for name, g in (("05", 0.5), ("1", 1.0))}

    curvature = 1e-6 * 0.95**2
    n["ac_kappa"] = np.arccosh(1 + curvature / (2.5e-6 - 2.5e-7 / 2) / 2)
    n |= dict(ac_eta=np.arccosh(1 + curvature / 2.5e-6 / 2), ac_continuous=np.sqrt(curvature / 2.5e-6))

    exact, inventory, _ = scheme("inventory", gamma, 200)
    _, third, _ = scheme("inventory", 1.0, 200)
    dt = 1 / 200
    n |= dict(p1=exact.mean, t3=n["as_1"])
    n["p1_exp"] = evaluate.moments(_Rate(lambda d: -np.expm1(-AS.bid_rate(d) * dt) / dt), inventory, "bernoulli").mean
    near = np.abs(third.inventory) <= 5
    sides = np.concatenate([third.bid[:, near].ravel(), third.ask[:, near].ravel()])
    n["beyond"] = np.mean(AS.bid_rate(sides) * dt > 1)
    outside = Quotes(third.times, third.inventory, np.maximum(third.bid, 0), np.maximum(third.ask, 0), 1.0)
    n["forbidden"] = evaluate.moments(AS, outside, "bernoulli").mean
    n["capped"] = evaluate.moments(_Rate(lambda d: np.minimum(AS.A, AS.bid_rate(d))), third, "bernoulli").mean

    n["sigma_ce"] = ce(
        glft.quotes(Market(np.sqrt(AS.sigma), AS.A, AS.k), gamma=gamma, horizon=1.0, max_inventory=30, steps=200)
    )
    cents = glft.quotes(Market(100 * AS.sigma, AS.A, AS.k / 100), gamma=gamma, horizon=1.0, max_inventory=30, steps=200)
    n["cents_ce"] = ce(Quotes(cents.times, cents.inventory, cents.bid / 100, cents.ask / 100, 1.0))
    closed = glft.closed_form_quotes(AS, gamma=gamma, horizon=1.0, max_inventory=30, steps=1)
    excess = (closed.bid[0, 1] - closed.bid[0, 0]) * closed.inventory * (1 - 1 / 30)  # s (q − q/30)
    n["closed_ce"] = ce(closed)
    n["share_ce"] = ce(Quotes(closed.times, closed.inventory, closed.bid - excess, closed.ask + excess, 1.0))
    wrong_k = glft.quotes(Market(AS.sigma, AS.A, AS.A), gamma=gamma, horizon=1.0, max_inventory=30, steps=200)
    n |= dict(k_ce=ce(wrong_k), k_mean=evaluate.moments(AS, wrong_k, "continuous").mean)
    n["markup"] = 2 / AS.k
    n["half_ce"] = ce(
        glft.quotes(Market(AS.sigma, AS.A, AS.k / 2), gamma=gamma, horizon=1.0, max_inventory=30, steps=200)
    )
    n["pooled_ce"] = ce(
        glft.quotes(Market(AS.sigma, 2 * AS.A, AS.k), gamma=gamma, horizon=1.0, max_inventory=30, steps=200)
    )

    trap = Market(1.0, 0.2, 0.3)
    n["tail"] = glft.quotes(trap, gamma=0.01, horizon=600.0, max_inventory=30, steps=1).bid[0, -2]
    n["eigh"] = "is off by more than 1" if not abs(tail_by_eigh(trap) - n["tail"]) < 1 else "is right"

    counts = np.arange(1, 60)
    for name, mean in (("05", 0.5), ("1", 1.0), ("2", 2.0)):
        seen = poisson.pmf(counts, mean)
        n[f"bias_{name}"] = np.sum(seen * np.log(counts)) / np.sum(seen) - np.log(mean)

    index = Market(5.83e-6, 9.10e-4, 1.79e4)
    n |= dict(xi_right=constants(index, 6e-5, 5e7)[0], xi_wrong=constants(index, 6e-5)[0])
    n["xi_ratio"] = 6e-5 * 5e7 / index.k
    symmetric = scheme("symmetric", gamma, 200)[0]
    n |= dict(se_mean=exact.std / np.sqrt(1000), se_symmetric=symmetric.std / np.sqrt(1000))
    n |= dict(mean_abs=exact.inventory_law @ np.abs(inventory.inventory), std_q=exact.inventory_std)
    return n


def tail_by_eigh(market):
    """Bid at q = 29 from dense eigenvectors; NaN if v is not positive."""
    k, q = market.k, np.arange(-30, 31)
    eta = market.A * (1 + 0.01 / k) ** -(1 + k / 0.01)
    M = np.diag(0.5 * k * 0.01 * market.sigma**2 * q**2) - eta * (np.eye(61, k=1) + np.eye(61, k=-1))
    values, vectors = np.linalg.eigh(M)
    v = vectors @ (np.exp(-values * 600.0) * (vectors.T @ np.ones(61)))
    ratio = v[-2] / v[-1]
    return np.log1p(0.01 / k) / 0.01 + (np.log(ratio) / k if ratio > 0 else np.nan)


class _Rate:
    """The market of Avellaneda & Stoikov with another fill rate, the same on both sides."""

    sigma, mu, impact, fee = AS.sigma, 0.0, 0.0, 0.0

    def __init__(self, rate):
        self.bid_rate = self.ask_rate = rate


if __name__ == "__main__":
    main()
