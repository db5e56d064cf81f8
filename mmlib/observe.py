"""What the library does at its edges, for those who ask: loggers, silent by default, and one decorator.

    @observed
    def publish(self, updates): …

    observe.log_to(sys.stderr)                      # `mmlib -v …`
    observe.log_to("run.jsonl", json_lines=True)    # `mmlib --log run.jsonl …`

A module's logger has its name, below "mmlib". An observed call is a line of level DEBUG: what was called, how long it
took, how many rows it returned; where it raised, the error's type in their place, and the error goes on. Kernels and
what is called thousands of times are not observed.
"""

import functools
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TextIO, TypeVar

logging.getLogger("mmlib").addHandler(logging.NullHandler())  # silent unless the user's program listens

P = ParamSpec("P")
R = TypeVar("R")


def observed(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, with a DEBUG line on its module's logger at each call.

    The record has attributes `call`, `seconds` and `rows` (the length of what is returned, None where it has none) or
    `error` (the type of what was raised, which is raised again).
    """
    logger, call = logging.getLogger(function.__module__), f"{function.__module__}.{function.__qualname__}"

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if not logger.isEnabledFor(logging.DEBUG):
            return function(*args, **kwargs)
        begun = time.perf_counter()
        try:
            found = function(*args, **kwargs)
        except BaseException as error:
            _say(logger, call, begun, "error", type(error).__name__)
            raise
        _say(logger, call, begun, "rows", len(found) if hasattr(found, "__len__") else None)
        return found

    return wrapper


def log_to(target: TextIO | str | Path, level: int = logging.DEBUG, *, json_lines: bool = False) -> logging.Handler:
    """Send the lines of mmlib's loggers to a stream, or append them to a file of this name; returns the handler.

    Parameters
    ----------
    target : text stream or path
    level : int
        Least level, as `logging` has them.
    json_lines : bool
        One JSON object a line, instead of a text.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    handler: logging.Handler
    if isinstance(target, str | Path):
        handler = logging.FileHandler(target, encoding="utf-8")
    else:
        handler = logging.StreamHandler(target)
    handler.setFormatter(JsonLines() if json_lines else logging.Formatter("%(name)s: %(message)s"))
    handler.setLevel(level)
    logger = logging.getLogger("mmlib")
    logger.addHandler(handler)
    logger.setLevel(level)
    return handler


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, and what an observed call adds."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"), "level": record.levelname}
        line |= {"logger": record.name, "message": record.getMessage()}
        line |= {key: getattr(record, key) for key in ("call", "seconds", "rows", "error") if hasattr(record, key)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def _say(logger: logging.Logger, call: str, begun: float, key: str, value: Any) -> None:
    seconds = round(time.perf_counter() - begun, 6)
    shown = "" if value is None else f", {value} rows" if key == "rows" else f", raised {value}"
    extra = {"call": call, "seconds": seconds, key: value}
    logger.debug("%s: %.3f s%s", call, seconds, shown, extra=extra)
