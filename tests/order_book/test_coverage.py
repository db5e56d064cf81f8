"""Do 95 % intervals hold the truth 95 times in 100? On synthetic books whose A and k are known; and what real hits do.

The books know nothing of `calibrate`: aggressors are Poisson and go as deep as a geometric law says.
"""

import numpy as np
import pytest

from mmlib.order_book import calibrate, synthetic

A, K, SECONDS, TICK = 0.8, 30.0, 300.0, 0.01


def coverage(books, first):
    """Shares of the intervals of k and A, of both sides of each book, that hold the truth; number of intervals."""
    held = []
    for seed in range(first, first + books):
        events = synthetic.lobster_events(sigma=0.003, A=A, k=K, seconds=SECONDS, tick=TICK, depth=9, levels=1,
                                          churn=0.0, seed=seed)  # fmt: skip
        for side in ("ask", "bid"):
            fit = calibrate.intensity(events, side, low=TICK, high=9 * TICK, step=TICK, start=34_200.0,
                                      end=34_200.0 + SECONDS, resamples=0)  # fmt: skip
            held.append((fit.k_interval[0] <= K <= fit.k_interval[1], fit.A_interval[0] <= A <= fit.A_interval[1]))
    return np.mean(held, axis=0), len(held)


def test_intervals_hold_the_truth():
    """Of 120 intervals within 3.5 standard errors of 95 %: fewer than 88 % is a fault."""
    shares, n = coverage(60, first=0)
    assert np.all(np.abs(shares - 0.95) < 3.5 * np.sqrt(0.95 * 0.05 / n))


@pytest.mark.deep
def test_intervals_hold_the_truth_on_a_thousand_books():
    """Of 2,000 intervals 93 to 97 %: four standard errors of a true 95 %."""
    shares, _ = coverage(1000, first=1000)
    assert np.all((shares > 0.93) & (shares < 0.97)), shares


def fano(hits, window, start=34_200, end=57_600):
    """Variance over mean of the numbers of hits in windows of `window` seconds."""
    counts = np.bincount((hits - start) // window, minlength=(end - start) // window)
    return counts.var() / counts.mean()


def test_real_hits_come_in_bursts(amzn):
    """The reference's factors at 1, 10, 60, 300 s; 1 for Poisson's process."""
    hits = calibrate.aggressors(amzn)
    deep = hits[(hits["side"] == -1) & (hits["depth"] >= 0.05 - 1e-9)]
    seconds = deep["time_ns"].to_numpy() // 10**9
    assert len(seconds) == 1656
    assert [fano(seconds, w) for w in (1, 10, 60, 300)] == pytest.approx([7.5, 9.1, 10.9, 20.1], abs=0.06)


def test_real_intensities_differ_by_the_time_of_day(amzn):
    """The reference's k of half hours, ask from 5 c: the first six and the last three."""
    found = calibrate.by_time(amzn, "ask", low=0.05, high=0.4, step=0.005)["k"].to_numpy()
    assert len(found) == 13
    assert found[:6] == pytest.approx([19.60, 33.33, 41.38, 36.96, 34.30, 37.32], abs=0.006)
    assert found[-3:] == pytest.approx([26.11, 29.50, 71.54], abs=0.006)
