"""Certainty equivalents over grids: the numbers of one call each, on any number of threads; what is refused, when."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mmlib.market_making import Market, avellaneda_stoikov, evaluate, glft, maps

DATA = Path(__file__).parents[2] / "data" / "maps"
GRID = dict(sigma=np.array([[1.0], [3.0]]), A=np.array([50.0, 140.0, 300.0]), k=1.5, gamma=0.1, horizon=1.0)
SMALL = dict(max_inventory=4, steps=6)


def test_each_number_is_that_of_one_call():
    found = maps.certainty_equivalents(glft.quotes, **GRID, **SMALL)
    assert found.shape == (2, 3)
    for i, sigma in enumerate((1.0, 3.0)):
        for j, A in enumerate((50.0, 140.0, 300.0)):
            market = Market(sigma, A, 1.5)
            quotes = glft.quotes(market, gamma=0.1, horizon=1.0, **SMALL)
            assert found[i, j] == evaluate.certainty_equivalent(market, quotes, 0.1)


def test_the_numbers_do_not_depend_on_the_threads():
    one, three = (maps.certainty_equivalents(glft.tanh_quotes, **GRID, **SMALL, workers=n) for n in (1, 3))
    assert np.array_equal(one, three)


def test_one_set_is_one_number_and_model_parameters_vary_too():
    fixed = dict(sigma=2.0, A=140.0, k=1.5, horizon=1.0, steps=5)
    assert maps.certainty_equivalents(glft.quotes, **fixed, gamma=0.1, max_inventory=3).shape == ()
    found = maps.certainty_equivalents(glft.quotes, **fixed, gamma=[0.05, 0.2], max_inventory=np.array([[2], [6]]))
    assert found.shape == (2, 2)
    assert (np.diff(found, axis=0) > 0).all() and (np.diff(found, axis=1) < 0).all()  # a wider bound; more aversion


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(sigm=1.0), "parameters must be of sigma, A, k, .* got 'sigm'"),
        (dict(k=None), "k must be numbers; got None"),
        (dict(A=[1.0, 2.0]), r"broadcast to one shape; got sigma \(2, 1, 1\), A \(2,\), mu \(3,\)"),
        (dict(A=[140.0, -1.0, 2.0]), "A must be > 0 .* got -1.0, in the set sigma 1, A -1, k 1.5"),
        (dict(gamma=[0.1, 0.1, np.nan]), "gamma must be >= 0 .* in the set sigma 1"),
        (dict(max_inventory=0), "max_inventory must be an integer and >= 1"),
        (dict(steps=2.5), "steps must be an integer"),
        (dict(workers=0), "workers must be an integer and >= 1"),
        (dict(beyond="zero"), "beyond must be one of"),
    ],
)
def test_a_bad_set_is_refused_by_name_before_any_evaluation(monkeypatch, change, words):
    monkeypatch.setattr(evaluate, "certainty_equivalent", lambda *_: pytest.fail("a set was evaluated"))
    given = GRID | SMALL | dict(mu=np.zeros(3), sigma=np.ones((2, 1, 1))) | change
    with pytest.raises(ValueError, match=words):
        maps.certainty_equivalents(glft.closed_form_quotes, **given)


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="missing 'A'"):
        maps.certainty_equivalents(glft.quotes, sigma=1.0, k=1.0, gamma=0.1, horizon=1.0, **SMALL)
    with pytest.raises(ValueError, match="missing 'horizon'"):
        maps.certainty_equivalents(glft.quotes, sigma=1.0, A=1.0, k=1.0, gamma=0.1, **SMALL)


def test_the_model_itself_refuses_before_any_evaluation(monkeypatch):
    """A rule of the model alone: no stationary quotes for a drift without aversion."""
    monkeypatch.setattr(evaluate, "certainty_equivalent", lambda *_: pytest.fail("a set was evaluated"))
    with pytest.raises(ValueError, match=r"mu must be 0 for stationary quotes .* in the set .*mu 0.3"):
        maps.certainty_equivalents(
            glft.closed_form_quotes, sigma=1.0, A=10.0, k=1.0, mu=[0.0, 0.3], gamma=0.0, horizon=1.0, **SMALL
        )


def test_quotes_beyond_judging_are_refused_by_name_or_not_a_number():
    """At sigma 60 the most inventory is quoted hundreds of depths through the mid."""
    wild = dict(sigma=[2.0, 60.0], A=140.0, k=1.5, gamma=0.1, horizon=1.0, max_inventory=10, steps=4)
    with pytest.raises(ValueError, match="in the set sigma 60, A 140"):
        maps.certainty_equivalents(avellaneda_stoikov.quotes, **wild)
    found = maps.certainty_equivalents(avellaneda_stoikov.quotes, **wild, beyond="nan")
    assert np.isnan(found).tolist() == [False, True]


def shipped():
    spec = importlib.util.spec_from_file_location("make_maps", DATA / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, np.genfromtxt(DATA / "losses.csv", delimiter=",", names=True)


def test_the_shipped_map_is_what_its_script_computes():
    """Three rows of each bound, drawn once; 3 digits are shipped."""
    make, table = shipped()
    assert len(table) == len(make.BOUNDS) * len(make.OMEGA_T) * len(make.KSQ)
    for row in np.random.default_rng(4).choice(table, 6, replace=False):
        found = make.losses(row["omega_T"], row["ksQ"], int(row["Q"]))
        for name, value in found.items():
            if np.isnan(row[name]):
                assert np.isnan(value)
            else:
                assert max(float(value), 1e-6) == pytest.approx(row[name], rel=0.01, abs=2e-6)


def test_the_markets_of_the_map_have_the_numbers_they_are_named_by():
    """omega and s from the formulas of Guéant, Lehalle & Fernandez-Tapia, written out."""
    make, _ = shipped()
    sigma, A = make.market(7.0, 0.4, 20)
    eta = A * (1 + 0.1 / 1.5) ** -16
    s = np.sqrt(0.1 * sigma**2 / (2 * 1.5 * eta))
    assert sigma * np.sqrt(2 * 1.5 * eta * 0.1) == pytest.approx(7.0, rel=1e-12)
    assert 1.5 * s * 20 == pytest.approx(0.4, rel=1e-12)
