"""The pre-borrow round the whole allocation: the worked example, and programmes written out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from mmlib.stock_loan import decisions
from mmlib.stock_loan.allocation import Problem

BP = 1 / 360e4
DEMAND = np.array([[100, 400], [200, 100], [600, 100]], float)[:, :, None]
CHANCE = [0.5, 0.3, 0.2]


def bp(dollars, price):
    """bp a year that are so many dollars a share and day."""
    return np.array(dollars)[:, None] / np.array(price)[:, None] / BP


def example():
    """Two names, one client; a term pool, and a spot market of 60 and 40 shares. Dollars in units of 1e-4."""
    price = [50.0, 20.0]
    cost = np.hstack([bp([2e-4, 1e-4], price), bp([7e-4, 2.5e-4], price)])
    return Problem(
        securities=["A", "B"], pools=["term", "spot"], clients=["fund"], price=price, demand=np.zeros((2, 1)),
        client_fee=bp([8e-4, 3e-4], price), source_cost=cost, supply=[[1000.0, 60.0], [1000.0, 40.0]],
        eligible=np.ones((2, 1), bool),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("budget", "quantity", "rp", "eev", "ws", "dual"),
    [(20_000, (200, 400), 1162, 1085, 1616, 0), (8_000, (120, 100), 880, 764, 974, 0.04)],
)
def test_the_worked_example_is_solved_in_one_programme(budget, quantity, rp, eev, ws, dual):
    """Derived on paper: RP, EEV, WS and the worth of the budget; VSS 77 and 116, EVPI 454 and 94."""
    found = decisions.pre_borrow_for(example(), DEMAND, term=["term"], probability=CHANCE, budget=budget)
    assert found.quantity[:, 0] == pytest.approx(quantity, abs=1e-6)
    assert (found.quantity[:, 1] == 0).all()
    assert found.value == pytest.approx(rp * 1e-4, rel=1e-9)
    assert found.worth == pytest.approx(dual * 1e-4, abs=1e-12)
    mean = np.tensordot(CHANCE, DEMAND, 1)[None]
    plain = decisions.pre_borrow_for(example(), mean, term=["term"], budget=budget).quantity
    judged = decisions.allocated(example(), plain, DEMAND, term=["term"])
    assert CHANCE @ judged == pytest.approx(eev * 1e-4, rel=1e-9)
    known = [decisions.pre_borrow_for(example(), d[None], term=["term"], budget=budget).value for d in DEMAND]
    assert CHANCE @ np.array(known) == pytest.approx(ws * 1e-4, rel=1e-9)


def desk(rng, S=3, K=3, C=2):
    """A random day: two pools on term, one of stock, credit, a balance sheet, a penalty, yesterday's loans."""
    price, fee = rng.uniform(5, 50, S), rng.uniform(200, 900, (S, C))
    return Problem(
        securities=[f"s{i}" for i in range(S)], pools=["t1", "t2", "own"][:K], clients=[f"c{i}" for i in range(C)],
        price=price, client_fee=fee, source_cost=rng.uniform(20, 500, (S, K)), demand=np.zeros((S, C)),
        supply=rng.integers(0, 400, (S, K)), eligible=np.array([[True, True], [True, False], [True, True]]),
        penalty=rng.uniform(0, 100, (S, C)), credit=rng.uniform(2000, 9000, C), capital=rng.uniform(4000, 15_000),
        recall_probability=rng.uniform(0, 0.01, (S, K)), buy_in_cost=rng.uniform(0, 50, S),
        external_fee=rng.uniform(0, 300, (S, K)) * (rng.random((S, K)) < 0.4),
    )  # fmt: skip


def by_hand(p, demands, term, budget):
    """The extensive form from the definitions, a column for every share that moves, scipy's HiGHS; dollars a day."""
    S, K, C = p.shape
    on_term = np.isin(p.pools, term)
    columns, cost, upper = {}, [], []

    def column(key, gain, most=None):
        columns[key] = len(cost)
        cost.append(-gain)
        upper.append((0, most))

    for s in range(S):
        for k in np.flatnonzero(on_term):
            column(("q", s, k), -p.price[s] * p.source_cost[s, k] * BP, p.supply[s, k])
    n = len(demands)
    for w in range(n):
        for s in range(S):
            for k in range(K):
                paid = 0.0 if on_term[k] else p.source_cost[s, k]
                if p.external_fee[s, k] > 0:
                    column((w, s, k, -1), p.price[s] * (p.external_fee[s, k] - paid) * BP / n)
                for c in range(C):
                    risk = p.recall_probability[s, k] * p.buy_in_cost[s] * 1e-4
                    gain = p.price[s] * ((p.client_fee[s, c] + p.penalty[s, c] - paid) * BP - risk)
                    column((w, s, k, c), gain / n, None if p.eligible[s, k, c] else 0.0)
    rows, limits = [], []

    def row(terms, limit):
        rows.append(np.zeros(len(cost)))
        for key, value in terms:
            rows[-1][columns[key]] += value
        limits.append(limit)

    for w in range(n):
        lanes = [key for key in columns if key[0] == w]
        for s in range(S):
            for k in range(K):
                own = [(key, 1.0) for key in lanes if key[1:3] == (s, k)]
                if on_term[k]:
                    row([*own, (("q", s, k), -1.0)], 0.0)
                else:
                    row(own, p.supply[s, k])
            for c in range(C):
                row([(key, 1.0) for key in lanes if key[1] == s and key[3] == c], demands[w, s, c])
        for c in range(C):
            row([(key, p.price[key[1]]) for key in lanes if key[3] == c], p.credit[c])
        row([(key, p.price[key[1]]) for key in lanes if key[3] >= 0], p.capital)
    row([(key, p.price[key[1]]) for key in columns if key[0] == "q"], budget)
    best = linprog(cost, np.array(rows), limits, bounds=upper)
    unmet = np.mean([(p.price[:, None] * p.penalty * d).sum() * BP for d in demands])
    return -best.fun - unmet, np.array([best.x[columns["q", s, k]] for s in range(S) for k in np.flatnonzero(on_term)])


@pytest.mark.parametrize("seed", range(12))
def test_the_programme_is_the_extensive_form_written_out(seed):
    rng = np.random.default_rng(seed)
    p, demands, budget = desk(rng), rng.integers(0, 300, (4, 3, 2)).astype(float), rng.uniform(500, 8000)
    found = decisions.pre_borrow_for(p, demands, term=["t1", "t2"], budget=budget)
    value, _ = by_hand(p, demands, ["t1", "t2"], budget)
    assert found.value == pytest.approx(value, rel=1e-7, abs=1e-9)
    spent = (p.price[:, None] * found.quantity).sum()
    assert spent <= budget * (1 + 1e-7) and (found.quantity <= p.supply * (1 + 1e-9)).all()
    assert (found.quantity[:, 2] == 0).all()
    judged = decisions.allocated(p, found.quantity, demands, term=["t1", "t2"])  # each scenario by `allocation.solve`
    assert judged.mean() == pytest.approx(found.value, rel=1e-6, abs=1e-9)
    more, _ = by_hand(p, demands, ["t1", "t2"], budget * 1.0001)
    less, _ = by_hand(p, demands, ["t1", "t2"], budget / 1.0001)
    slopes = [(more - value) / (budget * 1e-4), (value - less) / (budget * (1 - 1 / 1.0001))]
    assert min(slopes) - 1e-8 <= found.worth <= max(slopes) + 1e-8


def test_what_is_borrowed_and_not_used_is_paid_for():
    """One name, one client: 200 shares at 100 bp, min(d, 200) lent at 300 bp, price 10, by hand."""
    p = Problem(
        securities=["A"], pools=["term"], clients=["fund"], price=[10.0], demand=[[0.0]], supply=[[500.0]],
        client_fee=[[300.0]], source_cost=[[100.0]], eligible=np.array([[True]]),
    )  # fmt: skip
    values = decisions.allocated(p, [[200.0]], [[[100.0]], [[300.0]]], term=["term"])
    assert values == pytest.approx([(300 * 100 - 100 * 200) * 10 * BP, (300 * 200 - 100 * 200) * 10 * BP], rel=1e-9)
    again = replace(p, committed=[[50.0]])
    assert decisions.allocated(again, [[200.0]], [[[100.0]]], term=["term"])[0] == pytest.approx(values[0])


def test_worth_is_of_fresh_scenarios_and_its_parts_by_hand():
    """Newsvendor of one name: best quantities from numpy, incomes by formula, Student's interval from scipy's table."""
    p = Problem(
        securities=["A"], pools=["term"], clients=["fund"], price=[10.0], demand=[[0.0]], supply=[[5000.0]],
        client_fee=[[400.0]], source_cost=[[100.0]], eligible=np.array([[True]]),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    known, fresh = rng.lognormal(5, 0.8, (2, 21, 1, 1))
    found = decisions.worth(p, known, fresh, term=["term"])

    def earned(q, d):
        return 10 * BP * (400 * np.minimum(q, d) - 100 * q)

    best, d = np.quantile(known, 0.75, method="inverted_cdf"), fresh.ravel()
    gain = earned(best, d) - earned(known.mean(), d)
    lost = 10 * BP * 300 * d - earned(best, d)
    for part, (mean, low, high) in ((gain, found.vss), (lost, found.evpi)):
        half = 2.085963 * part.std(ddof=1) / np.sqrt(21)  # Student's .975 quantile; the solver keeps a millionth
        assert (mean, low, high) == pytest.approx((part.mean(), part.mean() - half, part.mean() + half), rel=1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p, d: decisions.pre_borrow_for(p, d[0], term=["term"]), "demands must have shape"),
        (lambda p, d: decisions.pre_borrow_for(p, -d, term=["term"]), "demands"),
        (lambda p, d: decisions.pre_borrow_for(p, d, term=["street"]), "term must be one of 'term'"),
        (lambda p, d: decisions.pre_borrow_for(p, d, term=["term"], probability=[1.0]), "probability must be 3"),
        (lambda p, d: decisions.pre_borrow_for(p, d, term=["term"], budget=-1), "budget"),
        (lambda p, d: decisions.pre_borrow_for(replace(p, concentration=0.5), d, term=["term"]), "concentration"),
        (lambda p, d: decisions.allocated(p, [[1.0, 1.0], [0, 0]], d, term=["term"]), "quantity must have shape"),
        (lambda p, d: decisions.allocated(p, [[2000.0, 0], [0, 0]], d, term=["term"]), "within supply"),
        (lambda p, d: decisions.worth(p, d, d[:1], term=["term"]), "fresh must have at least 2"),
        (lambda p, d: decisions.pre_borrow_for(replace(p, demand=[[90.0], [90.0]], mandatory=[[90.0], [90.0]],
                      credit=100.0), d, term=["term"]), "mandatory demand must be within reach"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(example(), DEMAND)
