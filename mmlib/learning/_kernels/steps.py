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
    p, whole, held = np.empty((2, BLOCK)), np.empty((2, BLOCK)), np.empty(BLOCK, np.int64)
    bits, threshold = whole.view(np.uint64), np.empty(BLOCK, np.uint64)
    for first in range(0, len(inventory), BLOCK):
        used = min(BLOCK, len(inventory) - first)
        for side in range(2):
            quoted = bid if side == 0 else ask
            for j in range(used):
                x = min(log_rate - decay * quoted[first + j], 0.0)
                x = max(x, -1000.0)  # a fill in 1e301 steps
                whole[side, j] = x + _WHOLE
                r = x - (whole[side, j] - _WHOLE)
                y = _TERMS[12]
                for n in range(11, -1, -1):
                    y = y * r + _TERMS[n]
                p[side, j] = y
            for j in range(used):
                bits[side, j] = (bits[side, j] << np.uint64(52)) + np.uint64(0x3FF0000000000000)
            for j in range(used):
                end = inventory[first + j] == (most if side == 0 else -most)
                p[side, j] = 0.0 if end else p[side, j] * whole[side, j]
                whole[side, j] = p[side, j] * _UNIT + _WHOLE
        for j in range(used):
            threshold[j] = ((bits[0, j] & _LOW) << np.uint64(32)) + (bits[1, j] & _LOW)
        for j in range(used):
            drawn = word(state[0, first + j], state[1, first + j])
            state[0, first + j], state[1, first + j] = next_state(state[0, first + j], state[1, first + j])
            unfilled = (drawn | _GUARDS) - threshold[j]
            got_bid = np.int64(1) - np.int64(unfilled >> np.uint64(63))
            got_ask = np.int64(1) - np.int64((unfilled >> np.uint64(31)) & np.uint64(1))
            inventory[first + j] += got_bid - got_ask
            held[j] = inventory[first + j]
            if not expected:
                p[0, j], p[1, j] = np.float64(np.int32(got_bid)), np.float64(np.int32(got_ask))
            move = swing if drawn >> np.uint64(63) else -swing
            reward[first + j] = move * np.float64(np.int32(held[j]))
        for j in range(used):
            reward[first + j] += p[0, j] * (bid[first + j] - fee) + p[1, j] * (ask[first + j] - fee)
        for j in range(used):
            reward[first + j] += carry[held[j] + most]
