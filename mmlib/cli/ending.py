"""How a command ends before its time: refused in one line, or by a signal with its clean-up done."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from mmlib._notebooks import Refused

#: Signals that ask a command to end; SIGHUP, of a closed terminal, is not known to every system.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def refuse(message: str, code: int = 2) -> NoReturn:
    """End the command with one line on stderr and an exit code."""
    typer.echo(f"mmlib: {' '.join(message.split())}", err=True)
    raise typer.Exit(code)


@contextmanager
def by_signal() -> Iterator[None]:
    """A block that SIGINT, SIGTERM and SIGHUP end in the same way: its clean-up runs, then the exit is 128 + number.

    What ends it comes as a KeyboardInterrupt; further signals are ignored while it cleans up. Signals that were
    ignored before, as `nohup` and a shell's `&` have it, stay so.
    """
    received: list[int] = []

    def end(number: int, frame: object) -> None:
        received.append(number)
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    try:
        with _handled(end):
            yield
    except BaseException:  # an import that is interrupted may fail in a way of its own
        if not received:
            raise
    if received:
        raise typer.Exit(128 + received[0])


@contextmanager
def computing() -> Iterator[None]:
    """A block whose parameters may be more than numbers can hold: what it raises is said in one line."""
    import numpy as np

    try:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            yield
    except ArithmeticError as error:
        refuse(f"a parameter is too large or too small to compute with ({error.args[-1] if error.args else error!r})")
    except (ValueError, RuntimeError, ImportError, MemoryError) as error:
        refuse(str(error) or "out of memory")


def listening(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say on stderr what is opened and solved.")] = False,
    log: Annotated[Path | None, typer.Option("--log", metavar="FILE", help="Append it to FILE, as JSON lines.")] = None,
) -> None:
    """Run the chapters of the book with parameters of your own; judge models, train agents, look after data."""
    if verbose or log:
        from mmlib import observe

        if verbose:
            observe.log_to(sys.stderr)
        if log:
            try:
                observe.log_to(log, json_lines=True)
            except OSError as error:
                refuse(f"cannot write {log}: {error.strerror}")


class App(typer.Typer):
    """The program; Ctrl-C as it builds its commands, before one of them runs, ends it without a word."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command of the arguments."""
        try:
            return super().__call__(*args, **kwargs)
        except KeyboardInterrupt:
            raise SystemExit(130) from None


class Group(TyperGroup):
    """The commands; where what they print cannot be written, they end in one line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """The command of the arguments, as click runs it."""
        try:
            return super().main(*args, **kwargs)
        except Refused as error:
            print(f"mmlib: {' '.join(str(error).split())}", file=sys.stderr)
            raise SystemExit(2) from None
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python says at the end that it cannot be flushed
            print(f"mmlib: {error.filename or 'cannot print'}: {error.strerror or error}", file=sys.stderr)
            raise SystemExit(1) from None


@contextmanager
def unbroken() -> Iterator[None]:
    """A block, of milliseconds, that no signal breaks off."""
    with _handled(signal.SIG_IGN):
        yield


@contextmanager
def _handled(handler: Callable[[int, Any], None] | signal.Handlers) -> Iterator[None]:
    before = {}
    if threading.current_thread() is threading.main_thread():  # Python lets no other thread set handlers
        before = {number: signal.getsignal(number) for number in SIGNALS}
        before = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
