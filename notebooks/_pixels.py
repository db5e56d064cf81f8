"""Figures compared by what is seen: decoded pixels, within what processors differ by."""

import base64
import io

import numpy as np
from PIL import Image

#: A pixel differs if a channel does by more than this, of 255. A palette of 128 colours
#: moves smooth edges by up to 30; another line's colour, or its absence, by over 100.
LEVELS = 64
#: Share of pixels that may differ: a marker moved by one pixel, not a line or a digit.
SHARE = 2e-4


def decoded(image):
    """Red, green and blue of a PNG (bytes, or base64 text), shape (height, width, 3)."""
    data = base64.b64decode(image) if isinstance(image, str) else image
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(np.int16)


def difference(one, other):
    """What tells two figures apart, as text; "" if nobody could see it."""
    one, other = decoded(one), decoded(other)
    if one.shape != other.shape:
        return f"{one.shape[1]} × {one.shape[0]} pixels, not {other.shape[1]} × {other.shape[0]}"
    differing = (np.abs(one - other).max(axis=2) > LEVELS).mean()
    return f"{differing:.2%} of the pixels differ" if differing > SHARE else ""
