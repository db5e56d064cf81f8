"""Random streams for compiled code: the same numbers for a seed on any number of threads.

Path i of a seed has four streams of its own, whatever the number of paths and of threads: xoroshiro128++ (Blackman &
Vigna 2021) started from splitmix64 (Steele, Lea & Flood 2014) of (seed, path, stream). Distinct paths and streams of a
seed start in distinct states.

    x, y = first_state(seed, path, stream)
    z = word(x, y)                     # 64 random bits
    x, y = next_state(x, y)
"""

import numpy as np
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ over the golden ratio, the step of splitmix64


@njit(cache=True, inline="always")
def mix(z):
    """The output function of splitmix64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, inline="always")
def first_state(seed, path, stream):
    """State of a stream before its first word."""
    x = mix(mix(np.uint64(seed) + _GOLDEN) + _GOLDEN * (np.uint64(4) * np.uint64(path) + np.uint64(stream)))
    return x, mix(x + _GOLDEN)


@njit(cache=True, inline="always")
def word(x, y):
    """xoroshiro128++: the word of state (x, y)."""
    z = x + y
    return ((z << np.uint64(17)) | (z >> np.uint64(47))) + x


@njit(cache=True, inline="always")
def next_state(x, y):
    y ^= x
    return (
        ((x << np.uint64(49)) | (x >> np.uint64(15))) ^ y ^ (y << np.uint64(21)),
        (y << np.uint64(28)) | (y >> np.uint64(36)),
    )


@njit(cache=True)
def words(seed, path, stream, count):
    """The first `count` words of a stream, shape (count,), uint64."""
    out = np.empty(count, np.uint64)
    x, y = first_state(seed, path, stream)
    for i in range(count):
        out[i] = word(x, y)
        x, y = next_state(x, y)
    return out
