"""A file's lines exactly as they are, or one error that names the file and the line.

    >>> lines = textfiles.lines("cnsfails202103a.zip", "latin-1", error=TableError)

Files may be plain, `.gz` or a `.zip` of one file; what a name ends in decides, in either case. Nothing is repaired: a
byte that is not of the encoding, a control character, an archive that is cut, encrypted, packed by another method or
far larger inside than outside, each is refused. Only the line ends are made alike (\\r\\n and \\n).
"""

import gzip
import re
import stat
import zipfile
import zlib
from pathlib import Path

LARGEST = 2**28  #: bytes that a file's text may have unless the caller says otherwise
EXPANSION = 200  #: times that an archive's text may be larger than the archive; tables of numbers reach about 20
HARMLESS = 2**20  #: bytes of text that an archive may have whatever its size
_CHUNK = 2**20
_NO_TEXT = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f]|\r(?!\n)")  # control characters; a carriage return by itself
_ENCRYPTED = 0x1  # bit 0 of a zip member's flags
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}


class FileError(ValueError):
    """A file is not what it should be; the message names the file, the line where there is one, and the rule."""


def lines(
    path: str | Path,
    encoding: str = "utf-8",
    *,
    ended: bool = True,
    largest: int = LARGEST,
    error: type[ValueError] = FileError,
) -> list[str]:
    """The lines of a file without their ends, at least one.

    Parameters
    ----------
    path : str or Path
        A text file, plain, `.gz` or `.zip`.
    encoding : str
        A byte order mark before UTF-8 is no part of the text.
    ended : bool
        Whether the last line must have a line end, without which nobody knows whether the file was cut.
    largest : int
        Bytes of text, unpacked, beyond which a file is refused before it fills the memory.
    error : type
        The ValueError to raise.

    Raises
    ------
    ValueError
        Of the type `error`: no such file, a folder, not readable, an archive that is broken, encrypted, packed by an
        unknown method, of several files or too large; text of another encoding, with control characters, empty, or
        without its last line end.
    """
    found = text(path, encoding, largest=largest, error=error)
    if ended and not found.endswith("\n"):
        last = found.rpartition("\n")[2]
        raise error(
            f"{Path(path).name}: line {found.count(chr(10)) + 1} must end with a line end (cut short?);"
            f" got {last[-40:]!r}"
        )
    return found.removesuffix("\n").split("\n")


def text(
    path: str | Path, encoding: str = "utf-8", *, largest: int = LARGEST, error: type[ValueError] = FileError
) -> str:
    """The text of a file with line ends \\n; parameters and errors are those of `lines`."""
    path = Path(path)
    raw = content(path, largest=largest, error=error)
    try:
        found = raw.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as problem:
        line = raw[: problem.start].count(b"\n") + 1
        raise error(f"{path.name}: line {line} must be {encoding} text; got byte 0x{raw[problem.start]:02x}") from None
    if not found.strip():
        raise error(f"{path.name} must not be empty; got no line")
    if bad := _NO_TEXT.search(found):
        line = found.count("\n", 0, bad.start()) + 1
        what = "a zero byte" if bad[0] == "\0" else f"control character 0x{ord(bad[0]):02x}"
        raise error(f"{path.name}: line {line} must be {encoding} text; got {what}")
    return found.replace("\r\n", "\n")


def content(path: str | Path, *, largest: int = LARGEST, error: type[ValueError] = FileError) -> bytes:
    """The bytes of a file, unpacked, whatever they are; parameters and errors are those of `lines`."""
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
            raise error(f"{path.name} must be a file; got {what}")
        packed = status.st_size
        with path.open("rb") as file:
            kind = path.suffix.lower()
            if kind == ".zip":
                return _unzipped(path.name, file, packed, largest, error)
            if kind == ".gz":
                return _gunzipped(path.name, file, packed, largest, error)
            if packed > largest:
                raise error(f"{path.name} must have at most {largest:,} bytes; got {packed:,}")
            return file.read()
    except error:
        raise
    except FileNotFoundError:
        raise error(f"{path.name} must be a file in {path.parent.name or '.'!r}; got no such file") from None
    except OSError as problem:
        raise error(f"{path.name} must be a file that can be read; got {problem.strerror or problem}") from None
    except ValueError:  # a name with a NUL, which no system call takes
        raise error(f"path must be the name of a file; got {str(path)!r}") from None


def _gunzipped(name, file, packed, largest, error):
    """All members of a gzip file."""
    try:
        with gzip.GzipFile(fileobj=file) as unpacking:
            return _read(name, unpacking, packed, largest, error)
    except (OSError, EOFError, zlib.error) as problem:
        raise error(f"{name} must be a whole archive; got {problem}") from None


def _unzipped(name, file, packed, largest, error):
    """The one file in a zip archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) != 1 or members[0].is_dir():
                raise error(f"{name} must hold one file; got {len(members)}")
            member = members[0]
            if member.flag_bits & _ENCRYPTED:
                raise error(f"{name} must not be encrypted; got an encrypted {member.filename!r}")
            if member.compress_type not in _METHODS:
                known = " or ".join(_METHODS.values())
                raise error(f"{name} must be {known}; got compression method {member.compress_type}")
            with archive.open(member) as unpacking:
                return _read(name, unpacking, packed, largest, error)
    except error:
        raise
    except Exception as problem:  # zipfile lets a dozen types of exception out of a broken archive, struct.error too
        raise error(f"{name} must be a whole archive; got {problem or type(problem).__name__}") from None


def _read(name, unpacking, packed, largest, error):
    """What comes out of an archive of `packed` bytes, stopped as soon as it is too much of it."""
    chunks, size = [], 0
    while chunk := unpacking.read(_CHUNK):
        size += len(chunk)
        if size > largest:
            raise error(f"{name} must unpack to at most {largest:,} bytes; got more")
        if size > max(HARMLESS, EXPANSION * packed):
            raise error(f"{name} must unpack to at most {EXPANSION} times its {packed:,} bytes; got more")
        chunks.append(chunk)
    return b"".join(chunks)
