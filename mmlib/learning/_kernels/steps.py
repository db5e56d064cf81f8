"""A step of many environments at once: fills of both sides, the move of the mid, the reward.

Environment j of a seed has a random stream of its own (`numerics.streams`); a word a step holds the three draws as in
Avellaneda & Stoikov's scheme of `simulate`: bit 63 the mid, bits 32–62 the bid's uniform, bits 0–30 the ask's. A side
fills if its uniform, an integer below 2³¹, is below round(p·2³¹). Loops over a block of environments have neither
branches nor calls, so that the compiler turns them into vector instructions; 2^x is a shift of the exponent times a
polynomial, right to 2e-15.
"""

import math

import numpy as np
from numba import njit

from mmlib.numerics.streams import first_state, next_state, word

BLOCK = 256
_WHOLE = 1.5 * 2.0**52  # added to a small number, it leaves its nearest integer in the low bits
_UNIT = 2.0**31
_GUARDS = np.uint64(0x8000000080000000)
_LOW = np.uint64(0xFFFFFFFF)
_TERMS = np.array([math.log(2.0) ** n / math.factorial(n) for n in range(13)])  # of 2^r, |r| <= ½


@njit(cache=True)
def states(seed, count):
    """First states of the streams of environments 0 … count − 1, shape (2, count)."""
    out = np.empty((2, count), np.uint64)
    for j in range(count):
        out[0, j], out[1, j] = first_state(seed, j, 0)
    return out


@njit(cache=True)
def step(inventory, bid, ask, state, money, carry, expected, reward):
    """One step of every environment; `inventory` (N,), `state` (2, N) and `reward` (N,) are written in place.

    Parameters
    ----------
    bid, ask : ndarray, shape (N,)
        Distances; at an end of the inventory grid that side is not quoted.
    money : tuple of float
        k/ln 2, log2(A dt), fee, sigma √dt (0 where the mid is integrated out).
    carry : ndarray, shape (m,)
        Reward of the inventory held after the fills.
    expected : bool
        Whether fills count by their probability instead of by their draw.
    """
    decay, log_rate, fee, swing = money
    most = (len(carry) - 1) // 2
    p, whole, threshold = np.empty((2, BLOCK)), np.empty((2, BLOCK)), np.empty(BLOCK, np.uint64)
    bits = whole.view(np.uint64)  # of the same memory
    for first in range(0, len(inventory), BLOCK):
        block = slice(first, min(first + BLOCK, len(inventory)))
        q, paid, x, y = inventory[block], reward[block], state[0, block], state[1, block]
        sides = (bid[block], ask[block])
        for side in range(2):
            quoted, chance, near, exponent = sides[side], p[side], whole[side], bits[side]
            end = most if side == 0 else -most
            for j in range(len(q)):
                power = min(log_rate - decay * quoted[j], 0.0)
                power = max(power, -1000.0)  # a fill in 1e301 steps
                near[j] = power + _WHOLE
                r = power - (near[j] - _WHOLE)
                z = _TERMS[12]
                for n in range(11, -1, -1):
                    z = z * r + _TERMS[n]
                chance[j] = z
            for j in range(len(q)):
                exponent[j] = (exponent[j] << np.uint64(52)) + np.uint64(0x3FF0000000000000)
            for j in range(len(q)):
                chance[j] = 0.0 if q[j] == end else chance[j] * near[j]
                near[j] = chance[j] * _UNIT + _WHOLE
        for j in range(len(q)):
            threshold[j] = ((bits[0, j] & _LOW) << np.uint64(32)) + (bits[1, j] & _LOW)
        for j in range(len(q)):
            drawn = word(x[j], y[j])
            x[j], y[j] = next_state(x[j], y[j])
            unfilled = (drawn | _GUARDS) - threshold[j]
            got_bid = np.int64(1) - np.int64(unfilled >> np.uint64(63))
            got_ask = np.int64(1) - np.int64((unfilled >> np.uint64(31)) & np.uint64(1))
            q[j] += got_bid - got_ask
            if not expected:
                p[0, j], p[1, j] = np.float64(np.int32(got_bid)), np.float64(np.int32(got_ask))
            move = swing if drawn >> np.uint64(63) else -swing
            paid[j] = move * np.float64(np.int32(q[j]))
        for j in range(len(q)):
            paid[j] += p[0, j] * (sides[0][j] - fee) + p[1, j] * (sides[1][j] - fee)
        for j in range(len(q)):
            paid[j] += carry[q[j] + most]


@njit(cache=True)
def columns(actions, low, high, out):
    """Fill `out` (d, N) with `actions` (N, d); whether all are between `low` and `high` (d,), as NaN is not."""
    inside = True
    for n in range(len(out)):
        row = out[n]
        for j in range(len(row)):
            row[j] = actions[j, n]
            inside &= low[n] <= row[j]
            inside &= row[j] <= high[n]
    return inside


@njit(cache=True)
def observe(time, inventory, scale, out):
    """Fills `out` (N, 2), float32: [time, inventory/scale]."""
    for j in range(len(inventory)):
        out[j, 0], out[j, 1] = time, inventory[j] / scale
