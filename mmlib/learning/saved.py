"""Files of what was learned: arrays by name and a text in JSON, in NumPy's npz format.

    saved.write("quotes.npz", saved.pack_quotes(quotes, market))
    quotes = saved.unpack_quotes("quotes.npz", market)

Reading executes nothing: arrays of objects (pickles) are refused, and so is whatever a file of its kind must not have.
The same arrays give the same bytes.
"""

import io
import json
import os
import tempfile
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mmlib.market_making.quotes import Quotes

MOST_BYTES = 64 * 2**20  # of a file's arrays, unpacked
ABOUT = "about"  # name of the text


def pack(kind: str, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> bytes:
    """The bytes of a file.

    Parameters
    ----------
    kind : str
        What it is a file of; asked for by `unpack`.
    arrays : dict of ndarray
        Numbers by name.
    about : dict
        What JSON can hold.
    """
    out = io.BytesIO()
    text = np.array(json.dumps({"kind": kind} | about, allow_nan=False))
    np.savez_compressed(out, allow_pickle=False, **arrays, **{ABOUT: text})
    return out.getvalue()


def unpack(path, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and the JSON of a file.

    Raises
    ------
    ValueError
        If it is no npz file, holds objects, more than 64 MB or something else than numbers, or is of another kind.
    OSError
        If it cannot be read.
    """
    with open(path, "rb") as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > MOST_BYTES:
                raise ValueError(f"its arrays take {size:,} bytes; at most {MOST_BYTES:,} are read")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as loaded:
                arrays = {name: loaded[name] for name in loaded.files}
            text = arrays.pop(ABOUT, np.array(0))
            about = json.loads(text.item()) if text.shape == () and text.dtype.kind == "U" else None
        except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError) as e:
            raise ValueError(f"{path} must be an npz file of plain arrays and a text {ABOUT!r}; {e}") from None
    if not isinstance(about, dict) or about.pop("kind", None) != kind:
        raise ValueError(f"{path} must be a file of {kind}, as its text {ABOUT!r} says; got {text!r}")
    if odd := [name for name, array in arrays.items() if array.dtype.kind not in "iuf"]:
        raise ValueError(f"{path}: {odd[0]} must be numbers; got {arrays[odd[0]].dtype}")
    return arrays, about


def check(path, arrays: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]], missing: tuple[str, ...] = ()):
    """ValueError unless `arrays` have these names and shapes, and finite numbers; those of `missing` may have NaN."""
    if set(arrays) != set(shapes):
        raise ValueError(f"{path} must have the arrays {', '.join(sorted(shapes))}; got {', '.join(sorted(arrays))}")
    for name, shape in shapes.items():
        array = arrays[name]
        if array.shape != shape:
            raise ValueError(f"{path}: {name} must have shape {shape}; got {array.shape}")
        if np.any(np.isinf(array)) or (name not in missing and np.any(np.isnan(array))):
            raise ValueError(f"{path}: {name} must be finite; got {float(array[~np.isfinite(array)].flat[0])}")


def write(path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=".mmlib-", dir=path.parent)
    try:
        with open(handle, "wb") as stream:
            stream.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def pack_quotes(quotes: Quotes, market) -> bytes:
    """The bytes of a file of `quotes` (without a hard limit), made for `market`."""
    if quotes.limit is not None:
        raise ValueError(f"quotes must be without a hard limit; got {quotes.limit!r}")
    arrays = {name: getattr(quotes, name) for name in ("times", "inventory", "bid", "ask")}
    return pack("quotes", arrays, {"horizon": quotes.horizon, "size": quotes.size, "market": asdict(market)})


def unpack_quotes(path, market=None) -> Quotes:
    """The quotes of a file; ValueError as `unpack`, or if they are no `Quotes`, or made for another market."""
    arrays, about = unpack(path, "quotes")
    rows, columns = (np.shape(arrays.get(name, ())) for name in ("times", "inventory"))
    shapes = {"times": rows, "inventory": columns, "bid": (*rows, *columns), "ask": (*rows, *columns)}
    check(path, arrays, shapes, missing=("bid", "ask"))
    same_market(path, about, market)
    times, inventory, bid, ask = (arrays[name] for name in shapes)
    return Quotes(times, inventory, bid, ask, about.get("horizon", np.nan), about.get("size", np.nan))


def same_market(path, about: dict[str, Any], market) -> None:
    """ValueError unless `about` names the numbers of `market`, where one is given."""
    if market is not None and about.get("market") != asdict(market):
        raise ValueError(f"{path} must be of this market, {asdict(market)}; it is of {about.get('market')}")
