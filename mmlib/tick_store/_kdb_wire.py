"""A connection over kdb+'s IPC through kola, whose failures are `StoreError`s.

kola gives up where the server sends nothing for `timeout` seconds, but does not limit the time to connect, and takes
what any other server says for the length of an answer, which can end the process. So the first connection is a plain
socket's: credentials, one question, and the answer must have kdb+'s form.
"""

import contextlib
import os
import re
import socket
import struct
import threading

from mmlib import optional
from mmlib.tick_store._log import StoreError

USER, PASSWORD = "MMLIB_KDB_USER", "MMLIB_KDB_PASSWORD"
_ADDRESS = re.compile(r"kdb://([A-Za-z0-9._-]+):(\d{1,5})", re.ASCII)
_QUESTION = struct.pack("<BBHIBBI2s", 1, 1, 0, 16, 10, 0, 2, b"1b")  # little-endian, synchronous, 16 bytes, the text 1b
_GREATEST = 4096  #: bytes of an answer to it, or of an error in its place


def address(url):
    """Host and port of kdb://HOST:PORT; StoreError for another form, shown only if it cannot hold a password."""
    found = _ADDRESS.fullmatch(url)
    if found and 0 < int(found[2]) < 65536:
        return found[1], int(found[2])
    shown = (
        f"got {url!r}" if re.fullmatch(r"kdb:(//)?[^@:]*(:\d*)?/?", url, re.I) else "got more than that, not shown here"
    )
    raise StoreError(f"url must be kdb://HOST:PORT, with user and password in {USER} and {PASSWORD}; {shown}")


_process: int | None = None  # the one that has used kola: it hangs in a fork, where the threads of its parent are not


def _in_one_process(url):
    global _process
    _process = _process or os.getpid()
    if _process != os.getpid():
        raise StoreError(
            f"{url}: this process was forked from one that has used kola, which does not survive it;"
            " children must be started with spawn or forkserver"
        )


class Connection:
    """One connection, made when it is first used and after it broke; any thread may ask, one at a time."""

    def __init__(self, url, timeout):
        self.url, self.timeout = url, timeout
        self._kola = optional.load("kola", "kdb", "kdb+ stores")
        self._place = address(url)
        self._lock, self._open = threading.Lock(), None
        self.forms = {}  # empty tables by name, as the server had them on this connection

    def connect(self, timeout=None):
        """A new connection of kola's, by default with this one's time-out; 0 waits for ever."""
        _in_one_process(self.url)
        user, password = os.environ.get(USER, ""), os.environ.get(PASSWORD, "")
        timeout = self.timeout if timeout is None else timeout
        made = self._kola.Q(*self._place, user=user, passwd=password, timeout=timeout)
        self._probe(made.user, password)
        return made

    def ask(self, query, *arguments):
        """The server's answer to a text, or to a function's name and its arguments."""
        _in_one_process(self.url)
        with self._lock:
            self._open = self._open or self.connect()
            return self.answer(self._open, query, *arguments)

    def read(self, query):
        """`ask` for what changes nothing: once more if the server has closed the connection since the last question."""
        before = self._open
        try:
            return self.ask(query)
        except StoreError:
            if before is None or self._open is not None:
                raise
        return self.ask(query)

    def answer(self, connection, query, *arguments):
        """The same on a connection that `connect` gave."""
        try:
            return connection.sync(query, *arguments)
        except self._kola.KolaIOError as error:
            if connection is self._open:
                self._open = None  # kola has closed it; the next question opens another
                self.forms.clear()
            raise StoreError(
                f"{self.url}: no whole answer ({error}; the server may be silent for {self.timeout} s);"
                " whether it did what was asked is not known"
            ) from None
        except (self._kola.KolaError, self._kola.KolaAuthError, TypeError, ValueError) as error:
            raise StoreError(f"{self.url}: {query[:200]!r} is refused ({' '.join(str(error).split())[:200]})") from None

    def close(self):
        with self._lock:
            if self._open is not None and _process == os.getpid():
                with contextlib.suppress(self._kola.KolaIOError):  # it may be closed already
                    self._open.disconnect()
            self._open = None
            self.forms.clear()

    def _probe(self, user, password):
        """StoreError unless the server takes the credentials and answers as kdb+ does."""
        try:
            with socket.create_connection(self._place, self.timeout) as wire:
                version = _told(wire, f"{user}:{password}".encode() + b"\3\0", 1)
                head = _told(wire, _QUESTION, 8) if version and version[0] <= 6 else b""
        except TimeoutError:
            raise StoreError(f"{self.url}: no answer within {self.timeout} s") from None
        except OSError as error:
            raise StoreError(f"{self.url}: no connection ({error})") from None
        if not version:
            raise StoreError(f"{self.url}: the server does not take the user and password of {USER}, {PASSWORD}")
        length = struct.unpack_from("<I" if head[0] else ">I", head, 4)[0] if len(head) == 8 else 0
        if not 9 <= length <= _GREATEST or head[0] > 1 or head[1] != 2:
            raise StoreError(f"{self.url}: what listens there does not speak kdb+'s protocol")


def _told(wire, said, n):
    """The next `n` bytes of a server that was told `said`; fewer where it ends the connection."""
    got = b""
    with contextlib.suppress(ConnectionError):
        wire.sendall(said)
        while len(got) < n and (more := wire.recv(n - len(got))):
            got += more
    return got
