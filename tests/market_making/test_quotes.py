"""The table of quotes: what it accepts, what it refuses, and that it is the caller's no more."""

import numpy as np
import pytest

from mmlib.market_making import Quotes
from mmlib.market_making.quotes import inventory_grid, one_sided, time_grid

NAN = np.nan
GOOD = dict(
    times=[0.0, 0.5],
    inventory=[-1, 0, 1],
    bid=[[1.0, 2.0, NAN], [3.0, 4.0, NAN]],
    ask=[[NAN, 1.0, 2.0], [NAN, 3.0, 4.0]],
    horizon=2.0,
)
BOTH = [[1.0, 2.0, 3.0]]


def test_a_table_keeps_its_numbers():
    quotes = Quotes(**GOOD)
    np.testing.assert_array_equal(quotes.bid, GOOD["bid"])
    np.testing.assert_array_equal(quotes.spread, [[NAN, 3.0, NAN], [NAN, 7.0, NAN]])
    assert quotes.horizon == 2.0 and quotes.size == 1.0 and quotes.limit is None and quotes.target is None


def test_one_row_of_distances_stands_for_all_times():
    quotes = Quotes(**GOOD | dict(bid=[1.0, 2.0, NAN], ask=[[NAN, 1.0, 2.0]]))
    np.testing.assert_array_equal(quotes.bid, [[1.0, 2.0, NAN]] * 2)


@pytest.mark.parametrize("name, dtype", [("times", float), ("inventory", int), ("bid", float), ("ask", float)])
def test_the_table_is_read_only_and_leaves_the_callers_arrays_alone(name, dtype):
    mine = np.array(GOOD[name], dtype)
    quotes = Quotes(**GOOD | {name: mine})
    assert mine.flags.writeable
    mine[...] = 0
    np.testing.assert_array_equal(getattr(quotes, name), GOOD[name])
    with pytest.raises(ValueError, match="read-only"):
        getattr(quotes, name)[...] = 0


def test_unsigned_inventories_can_be_counted_down_from():
    quotes = Quotes([0.0], np.arange(3, dtype=np.uint8), [[1.0, 1.0, NAN]], [[NAN, 1.0, 1.0]], 1.0)
    assert (quotes.inventory - 1)[0] == -1


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(times=[0.1, 0.5]), "times must increase from 0"),
        (dict(times=[0.0, 0.0]), "times must increase from 0"),
        (dict(times=[0.0, 2.0]), "times must increase from 0 and stay below horizon = 2"),
        (dict(times=[0.0, NAN]), "times must be finite"),
        (dict(times=[[0.0, 0.5]]), "times must increase from 0"),
        (dict(horizon=0.0), "horizon must be > 0"),
        (dict(horizon=np.inf), "horizon must be > 0 and finite"),
        (dict(inventory=[-1, 1, 2]), "inventory must be consecutive integers"),
        (dict(inventory=[1, 0, -1]), "inventory must be consecutive integers"),
        (dict(inventory=[-1.0, 0.0, 1.0]), "inventory must be consecutive integers"),
        (dict(inventory=[0], bid=[[NAN]], ask=[[NAN]]), "inventory must have at least two levels"),
        (dict(bid=[[1.0, NAN]]), r"bid must have shape \(times, inventory\) = \(2, 3\); got \(1, 2\)"),
        (dict(ask=[[NAN, np.inf, 1.0]]), "ask must be finite, or NaN"),
        (dict(bid=[[1.0, 2.0, 3.0]]), "bid must be NaN at inventory 1, the end of the grid.*got .*3.0"),
        (dict(ask=[[1.0, 2.0, 3.0]]), "ask must be NaN at inventory -1"),
        (dict(size=0.0), "size must be > 0"),
        (dict(times=[]), "times must increase from 0"),
        (dict(bid=[[1j, 1j, NAN]]), "bid must be numbers, or NaN"),
        (dict(bid="wide"), "bid must be numbers, or NaN"),
        (dict(bid=None), "bid must be numbers, or NaN"),
        (dict(size=[1.0, 2.0]), "size must be one number"),
        (dict(cost=0.1), "limit must be given"),
        (dict(target=0), "limit must be given"),
        (dict(limit=2), "inventory must be -limit, ..., limit = 2; got -1, ..., 1"),
        (dict(inventory=[-2, -1, 0], limit=2), "inventory must be -limit, ..., limit = 2; got -2, ..., 0"),
        (dict(inventory=[0, 1, 2], limit=2), "inventory must be -limit, ..., limit = 2; got 0, ..., 2"),
        (dict(limit=1, target=-1), "target must be an integer and >= 0 and <= 1"),
        (dict(limit=0), "limit must be an integer and >= 1"),
        (dict(limit=1.5), "limit must be an integer"),
        (dict(limit=1, cost=-0.1), "cost must be >= 0"),
        (dict(limit=1, target=2), "target must be an integer and >= 0 and <= 1"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        Quotes(**GOOD | change)


def test_two_inventories_are_a_grid():
    """Sold out or not: the smallest table there is."""
    quotes = Quotes([0.0], [0, 1], [[1.0, NAN]], [[NAN, 2.0]], 1.0)
    assert quotes.inventory.tolist() == [0, 1]
    assert quotes.bid[0, 0] == 1.0 and quotes.ask[0, 1] == 2.0


def test_a_limit_allows_quotes_at_the_ends_and_cuts_back_to_itself_by_default():
    quotes = Quotes(**GOOD | dict(bid=BOTH, ask=BOTH, limit=1))
    assert quotes.target == 1 and quotes.cost == 0
    assert Quotes(**GOOD | dict(bid=BOTH, ask=BOTH, limit=1, target=0, cost=0.3)).target == 0


def test_time_grid_has_the_left_ends_of_equal_steps():
    np.testing.assert_allclose(time_grid(2.0, 4), [0.0, 0.5, 1.0, 1.5], rtol=0, atol=0)
    with pytest.raises(ValueError, match="steps must be an integer and >= 1"):
        time_grid(2.0, 0)
    with pytest.raises(ValueError, match="horizon must be > 0"):
        time_grid(-1.0, 4)


@pytest.mark.parametrize("steps", [1, 3, 7, 10, 49, 1000])
def test_a_time_grid_always_stays_below_the_horizon(steps):
    """Rounding: (steps − 1)·(horizon/steps) must not reach the horizon."""
    for horizon in (0.1, 0.3, 1.0, 600.0):
        times = time_grid(horizon, steps)
        assert len(times) == steps and times[-1] < horizon


def test_inventory_grid_is_symmetric_and_needs_a_whole_bound():
    np.testing.assert_array_equal(inventory_grid(2), [-2, -1, 0, 1, 2])
    for bad in (0, 1.5, -1):
        with pytest.raises(ValueError, match="max_inventory must be an integer"):
            inventory_grid(bad)


def test_one_sided_blanks_the_sides_that_would_leave_the_grid_in_copies():
    q, bid = inventory_grid(1), np.array([[1, 2, 3], [4, 5, 6]])
    b, a = one_sided(q, bid, np.array([[7.0], [8.0]]))
    np.testing.assert_array_equal(b, [[1, 2, NAN], [4, 5, NAN]])
    np.testing.assert_array_equal(a, [[NAN, 7, 7], [NAN, 8, 8]])
    assert bid[0, 2] == 3
