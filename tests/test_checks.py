"""Every check accepts what its rule says and names argument, rule, meaning and value when it refuses."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlib import checks

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
ENDS = {False: (False, False), True: (True, True), "left": (True, False), "right": (False, True)}


@settings(deadline=None, max_examples=200, derandomize=True)
@given(NUMBERS | st.sampled_from([-1.0, 0.0, 1.0]), st.sampled_from(list(ENDS)))
def test_an_interval_holds_exactly_the_numbers_its_ends_say(value, open_ends):
    left, right = ENDS[open_ends]
    inside = (value > -1 if left else value >= -1) and (value < 1 if right else value <= 1)
    if inside:
        assert checks.in_interval("x", value, -1, 1, open=open_ends) == value
    else:
        with pytest.raises(ValueError, match=r"^x must be "):
            checks.in_interval("x", value, -1, 1, open=open_ends)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(NUMBERS)
def test_positive_nonnegative_and_finite_refuse_what_is_not_finite(value):
    for check, rule in ((checks.positive, value > 0), (checks.nonnegative, value >= 0), (checks.finite, True)):
        if rule and np.isfinite(value):
            assert check("x", value) == value
        else:
            with pytest.raises(ValueError):
                check("x", value)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: checks.positive("gamma", -1.0, "risk aversion, 1/currency"),
         "gamma must be > 0 and finite (risk aversion, 1/currency); got -1.0"),
        (lambda: checks.positive("A", 0), "A must be > 0 and finite; got 0.0"),
        (lambda: checks.nonnegative("sigma", np.float64(-2)), "sigma must be >= 0 and finite; got -2.0"),
        (lambda: checks.finite("mu", np.inf), "mu must be finite; got inf"),
        (lambda: checks.in_interval("p", 1, 0, 1, open="right"), "p must be >= 0 and < 1; got 1.0"),
        (lambda: checks.in_interval("p", [0.5, 2.0, 3.0], 0, 1, array=True), "p must be >= 0 and <= 1; got 2.0"),
        (lambda: checks.positive("gamma", [1, 2], "1/currency"),
         "gamma must be one number, > 0 and finite (1/currency); got [1, 2]"),
        (lambda: checks.number("mu", [0.5]), "mu must be one number, finite; got [0.5]"),
        (lambda: checks.finite("x", [[1], [1, 2]]), "x must be finite; got [[1], [1, 2]]"),
        (lambda: checks.finite("x", -(10**400)), "x must be finite; got -inf"),
        (lambda: checks.integer("n", 2**63, least=0), f"n must be an integer and >= 0 and <= {2**63 - 1}; got {2**63}"),
        (lambda: checks.integer("n", 10**400, least=0, most=9),
         f"n must be an integer and >= 0 and <= 9; got {10**400}"),
        (lambda: checks.integer("n", 2.0**63, most=2**63 - 1),
         f"n must be an integer and <= {2**63 - 1}; got {2.0**63}"),
        (lambda: checks.in_interval("p", np.nan, 0, 1, open=True), "p must be > 0 and < 1; got nan"),
        (lambda: checks.positive("k", "1.5"), "k must be > 0 and finite; got '1.5'"),
        (lambda: checks.positive("k", None), "k must be > 0 and finite; got None"),
        (lambda: checks.positive("k", True), "k must be > 0 and finite; got True"),
        (lambda: checks.positive("k", 1j), "k must be > 0 and finite; got 1j"),
        (lambda: checks.integer("steps", 0, least=1), "steps must be an integer and >= 1; got 0"),
        (lambda: checks.integer("steps", 2.5), "steps must be an integer; got 2.5"),
        (lambda: checks.integer("steps", True, least=1), "steps must be an integer and >= 1; got True"),
        (lambda: checks.integer("q", 7, least=0, most=6, meaning="orders"),
         "q must be an integer and >= 0 and <= 6 (orders); got 7"),
        (lambda: checks.integer("q", np.nan), "q must be an integer; got nan"),
        (lambda: checks.integer("q", [1, 2]), "q must be an integer; got [1, 2]"),
        (lambda: checks.choice("scheme", "poisson", ("a", "b")), "scheme must be one of 'a', 'b'; got 'poisson'"),
        (lambda: checks.choice("scheme", 1, ("a", "b")), "scheme must be one of 'a', 'b'; got 1"),
    ],
)  # fmt: skip
def test_a_refusal_names_argument_rule_meaning_and_value(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()


def test_values_come_back_as_plain_numbers_or_float_arrays():
    assert type(checks.positive("x", np.int64(3))) is float
    assert type(checks.integer("x", 3.0)) is int
    assert type(checks.positive("x", np.array(3))) is float
    array = checks.positive("x", [1, 2], array=True)
    assert array.dtype == float and array.shape == (2,)


def test_a_returned_array_is_not_the_callers():
    given_array = np.array([1.0, 2.0])
    checks.finite("x", given_array)[0] = 9.0
    assert given_array[0] == 1.0
