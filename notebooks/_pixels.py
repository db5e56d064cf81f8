"""Figures compared by what is seen: decoded pixels, within what processors differ by."""

import base64
import io

import numpy as np
from PIL import Image

#: A pixel differs if a channel does by more than this, of 255. Measured on the 45 figures
#: of twelve chapters: another instruction set moves a channel by at most 1; the palette
#: of a committed figure by at most 81, beyond 64 in at most 6e-6 of the pixels.
LEVELS = 64
#: Share of pixels that may differ: eight times the palette's, 23 of 1008 × 460. A lost
#: marker of 3 points is 36 pixels, a line hundreds, another figure some 20,000.
SHARE = 5e-5


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
