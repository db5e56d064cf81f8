"""Files that a command leaves: refused before any work if they cannot be written; then written whole or not at all."""

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mmlib.cli.ending import refuse


def target(file: Path) -> Path:
    """The file that `file` is or, being a link, leads to; refused if it may not be written."""
    if not os.path.isdir(file.parent):
        refuse(f"cannot write {file}: its folder does not exist")
    try:
        file.stat()
    except FileNotFoundError:
        pass
    except OSError as error:  # links in a circle, a name too long
        refuse(f"cannot write {file}: {error.strerror}")
    target = file.resolve()
    if target.is_dir():
        refuse(f"cannot write {file}: it is a folder")
    if target.exists() and not target.is_file():  # a device would be replaced by a file of its name
        refuse(f"cannot write {file}: it is no regular file")
    if target.exists() and not os.access(target, os.W_OK):
        refuse(f"cannot write {file}: it is write-protected")
    try:
        handle, name = tempfile.mkstemp(prefix=".mmlib-", dir=target.parent)  # only to see that it can be done
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        refuse(f"cannot write {file}: {error.strerror}")
    return target


def save(contents: Mapping[Path, bytes]) -> None:
    """Write all files or none: beside themselves first, then each in the place and with the mode of the old one."""
    written: dict[Path, str] = {}
    file = None
    try:
        for file, content in contents.items():
            handle, written[file] = tempfile.mkstemp(prefix=".mmlib-", dir=file.parent)
            with open(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(handle)
            os.chmod(written[file], _mode(file))
        for file, temporary in list(written.items()):
            os.replace(temporary, file)
            del written[file]
    except OSError as error:
        refuse(f"cannot write {file}: {error.strerror}", code=1)
    finally:
        for temporary in written.values():
            os.unlink(temporary)


def _mode(file: Path) -> int:
    """The mode that `file` has, or that a new file gets."""
    if file.exists():
        return stat.S_IMODE(file.stat().st_mode)
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
