"""Who runs the points: this machine's one preloaded parent, or the workers of a Dask cluster, each with its own."""

import errno
import logging
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any

import mmlib
from mmlib import cluster
from mmlib._notebooks import Refused
from mmlib._sweep import engine

#: Runs given to a cluster at a time: its scheduler keeps each in memory.
WINDOW = 10_000
#: Runs for each process of this machine below which another is not started: it takes as long as dozens of runs.
ALONE = 8
#: Seconds that a scheduler's first worker is waited for.
PATIENCE = 30

Point = tuple[int, dict[str, Any]]


def answers(
    program: dict[str, Any],
    points: Sequence[Point],
    timeout: float | None,
    scheduler: str | None,
    workers: int | None,
) -> Generator[tuple[int, dict[str, Any]], None, None]:
    """Numbers of runs and their answers, as they come."""
    if not points:
        return
    if scheduler is None and not engine.FORKS:
        workers = 1
    if scheduler is None and workers is None:
        workers = max(1, min(os.cpu_count() or 1, len(points) // ALONE))
    if scheduler is None and workers == 1:
        yield from _here(program, points, timeout)
    else:
        yield from _there(program, points, timeout, scheduler, workers)


def _here(program, points, timeout):
    runner = engine.opened(program)
    try:
        for number, values in points:
            yield number, runner.run(values, timeout)
    finally:
        runner.close()


def _there(program, points, timeout, scheduler, workers):
    with _client(scheduler, workers) as client:
        from distributed import as_completed

        _same_code(client)
        sent = client.submit(dict, program, pure=False)  # once, and made again if its worker dies
        left = iter(points)
        numbers: dict[Any, int] = {}

        def submit():
            number, values = next(left)
            future = client.submit(one, sent, values, timeout, engine.code(), pure=False, retries=engine.TRIES - 1)
            numbers[future] = number
            return future

        try:
            waiting = as_completed([submit() for _ in range(min(WINDOW, len(points)))], loop=client.loop)
            for future in waiting:
                answer = _answer(future, scheduler)
                number = numbers.pop(future)
                future.release()
                with suppress(StopIteration):
                    waiting.add(submit())
                yield number, answer
        finally:
            with suppress(OSError):  # of a scheduler that has gone
                client.cancel(list(numbers))
                if scheduler is not None:
                    client.run(engine.close_all)


def _answer(future, scheduler):
    from distributed import CancelledError, KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return {"error": f"the workers that ran it died, {engine.TRIES} of them (out of memory?)"}
    except (CancelledError, OSError):
        words = "the scheduler has gone; the same sweep goes on from its journal"
        raise ConnectionError(errno.ECONNRESET, words, scheduler) from None


@contextmanager
def _client(scheduler, workers):
    """A client whose processes do not take the terminal's Ctrl-C for theirs: it is for this one, which ends them."""
    held = threading.current_thread() is threading.main_thread() and hasattr(signal, "pthread_sigmask")
    opening = cluster.client(scheduler, workers)
    resource_tracker.ensure_running()  # its start would let the signal in again
    if held:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        client = opening.__enter__()
    finally:
        if held:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    log = logging.getLogger("distributed.client")
    level = log.level
    log.setLevel(logging.CRITICAL)  # that a scheduler has gone is said here
    try:
        yield client
    finally:
        with suppress(OSError):
            opening.__exit__(None, None, None)
        log.setLevel(level)


def _same_code(client):
    """Refuse workers that have another mmlib, by their names."""
    from distributed import TimeoutError as TooLong

    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except (TooLong, TimeoutError):
        raise Refused(f"the scheduler must have a worker; none came in {PATIENCE} s") from None
    # `eval` is everywhere: a function of this module would not be found by a worker whose mmlib is older
    versions = client.run(eval, "__import__('mmlib').__version__", on_error="return")
    for name, version in versions.items():
        if version != mmlib.__version__:
            raise Refused(f"worker {name} must have mmlib {mmlib.__version__}; got {version}")
    for name, found in client.run(engine.code, on_error="return").items():
        if found != engine.code():
            raise Refused(f"worker {name} must have this mmlib {mmlib.__version__}; got other code of that version")


_LOCAL = threading.local()  # a worker's threads each have a parent: it does one run at a time


def one(program: dict[str, Any], values: dict[str, Any], timeout: float | None, code: str) -> dict[str, Any]:
    """A run, on a worker: what its thread's parent process answers."""
    if code != engine.code():
        raise Refused(f"a worker that came later has other code of mmlib than {mmlib.__version__} here")
    runner = getattr(_LOCAL, "runner", None)
    if runner is None or runner.program != program:
        if runner is not None:
            runner.close()
        _LOCAL.runner = runner = engine.opened(program)
    wanted = _wanted()
    answer = runner.run(values, timeout, wanted)
    if not wanted():  # its sweep has gone while it ran
        runner.close()
    return answer


def _wanted() -> Callable[[], bool]:
    """Whether the task of this thread is still waited for: a task that runs cannot be cancelled from outside."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state == "executing"

    return wanted
