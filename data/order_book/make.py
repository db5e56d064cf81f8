"""Writes this folder's synthetic hour of an order book, in LOBSTER's form and, of its first half, in Binance's.

    python data/order_book/make.py

The seed is in `synthetic.SAMPLE`. The files are read by nothing but `lobster.read` and `binance.read_capture`.
"""

import tempfile
import zipfile
from pathlib import Path

from mmlib.order_book import binance, lobster, synthetic

MIDNIGHT = 1_767_571_200  # 2026-01-05, the date in LOBSTER's names, in seconds since 1970
HALF = 1800  # seconds that the capture covers


def sample():
    """The events of both files: all, and those of the first half from the row on that completes the opening book."""
    events = synthetic.lobster_events(**synthetic.SAMPLE)
    opened = 2 * synthetic.SAMPLE["depth"] - 1
    return events, events[events["time_ns"] < events["time_ns"].iloc[0] + HALF * 10**9].iloc[opened:]


def write(archive, capture):
    """Write the two files; an archive's dates are fixed, so the same program writes the same bytes."""
    events, half = sample()
    stem = Path(archive).stem
    levels = stem.rpartition("_")[2]
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(archive, "w") as out:
        day = stem.removesuffix(f"_{levels}")
        paths = [Path(folder, f"{day}_{part}_{levels}.csv") for part in ("message", "orderbook")]
        lobster.write(events, *paths)
        for path in paths:
            info = zipfile.ZipInfo(path.name, (2026, 1, 5, 0, 0, 0))
            out.writestr(info, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    synthetic.write_capture(half, capture, epoch=MIDNIGHT)


if __name__ == "__main__":
    write(lobster.SAMPLE, binance.SAMPLE)
