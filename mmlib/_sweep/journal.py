"""Finished runs beside a sweep's table, a JSON line each; the first line says of which sweep.

A line is written by one `write`. What a kill tears off the last one is cut; a journal of another sweep is refused. A
journal is of one process at a time.
"""

import errno
import json
import os
from pathlib import Path
from typing import Any, Self

from mmlib._notebooks import Refused

try:
    import fcntl
except ImportError:  # Windows: who starts two at a time there is not stopped
    fcntl = None  # type: ignore[assignment]


class Journal:
    """The journal of the sweep with the hash `sweep`, open for writing; `done` holds what it had, by number of run."""

    def __init__(self, file: Path, sweep: str, runs: int):
        self.file = file
        self.done: dict[int, dict[str, Any]] = {}
        self._empty = False
        self._handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            self._lock()
            self._read(sweep, runs)
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"{self.file} is being written by the same sweep in another process") from None

    def _read(self, sweep: str, runs: int) -> None:
        text = self.file.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        lines = whole.splitlines()
        try:
            found = [json.loads(line) for line in lines]
            if found and found[0]["sweep"] != sweep:
                raise Refused(
                    f"{self.file} is the journal of another sweep: other code, parameters, values or time-out;"
                    " delete it to begin anew, or name another output"
                )
            self.done = {line.pop("run"): line for line in found[1:]}
            if any(type(number) is not int or not 0 <= number < runs for number in self.done):
                raise ValueError
            if not all(_is_answer(answer) for answer in self.done.values()):
                raise ValueError
        except Refused:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Refused(f"{self.file} is no journal of a sweep, or damaged: delete it to begin anew") from None
        if len(whole) < len(text):
            os.ftruncate(self._handle, len(whole))
        if not lines:
            self._write({"sweep": sweep})
        self._empty = not self.done

    def append(self, number: int, answer: dict[str, Any]) -> None:
        """Keep the answer of the run of that number."""
        self._empty = False
        self._write({"run": number} | answer)

    def _write(self, line: dict[str, Any]) -> None:
        text = (json.dumps(line) + "\n").encode()
        try:
            written = os.write(self._handle, text)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.file)) from None
        if written < len(text):  # the rest is cut off when it is taken up again
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.file))

    def close(self) -> None:
        """Let others write it; one without a run goes."""
        if self._handle >= 0:
            if self._empty and self.file.exists():
                self.file.unlink()
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_answer(answer: dict[str, Any]) -> bool:
    """Whether it is what a run answers: its results, or why it has none."""
    match answer:
        case {"results": dict(found), **rest}:
            return not rest and all(type(value) in (bool, int, float, str) for value in found.values())
        case {"error": str(text), **rest}:
            return bool(text) and not rest
    return False
