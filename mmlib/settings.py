"""What a machine knows and a chapter does not: where the cluster, the data and the kdb+ server are.

    from mmlib import settings
    here = settings.read()              # mmlib.toml of this folder, if there is one; then the environment

`mmlib sweep` takes its scheduler from there, `mmlib fetch` folder and time-out, `tick_store.open("kdb://")` the server.

`mmlib.toml` has these keys, each of which may be left out, and MMLIB_SCHEDULER, MMLIB_DATA, MMLIB_KDB_HOST,
MMLIB_KDB_PORT and MMLIB_TIMEOUT override it:

    scheduler = "tcp://10.0.0.5:8786"   # of a running Dask scheduler; none: this machine
    data = "/srv/market"                # folder that `mmlib fetch` fills
    kdb_host = "10.0.0.6"
    kdb_port = 5010
    timeout = 120.0                     # seconds that a download may be silent

User and password of the kdb+ server come from the environment alone, MMLIB_KDB_USER and MMLIB_KDB_PASSWORD, and are
never shown.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mmlib import checks

FILE = "mmlib.toml"
PREFIX = "MMLIB_"
#: Fields that no file may have.
SECRETS = ("kdb_user", "kdb_password")


@dataclass(frozen=True)
class Settings:
    """Settings by name; the secrets are not part of what is shown.

    Parameters
    ----------
    scheduler : str
        Address of a Dask scheduler, as tcp://host:8786; "" for this machine.
    data : str
        Folder of the user's data; "" for none.
    kdb_host : str
    kdb_port : int
        1 to 65535.
    timeout : float
        Seconds, > 0.
    kdb_user, kdb_password : str
        From the environment alone; hidden in `repr`.

    Raises
    ------
    ValueError
        If a value is not of its kind or outside its range; the message names it, but no secret's value.
    """

    scheduler: str = ""
    data: str = ""
    kdb_host: str = "127.0.0.1"
    kdb_port: int = 5000
    timeout: float = 60.0
    kdb_user: str = field(default="", repr=False)
    kdb_password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for name in ("scheduler", "data", "kdb_host"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise ValueError(f"{name} must be a text; got {value!r}")
        for name in SECRETS:
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be a text")
        if self.scheduler and "://" not in self.scheduler:
            raise ValueError(f"scheduler must be an address as tcp://host:8786; got {self.scheduler!r}")
        checks.integer("kdb_port", self.kdb_port, 1, 65535, "port of the kdb+ server")
        checks.positive("timeout", self.timeout, "seconds that a download may be silent")


#: Names that a file may have.
KEYS = tuple(one.name for one in fields(Settings) if one.name not in SECRETS)


def read(file: str | Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from a file and, over them, from the environment.

    Parameters
    ----------
    file : path, optional
        A TOML file; by default `mmlib.toml` in the current folder, where it may be missing.
    environment : mapping of str to str, optional
        `os.environ` by default. An empty value counts as none.

    Raises
    ------
    ValueError
        If the file cannot be read or is not TOML, has an unknown key or a secret, or a value is refused. The message
        says where the value is from, and what may have been meant.
    """
    values, origin = _of_file(file)
    for name in (*KEYS, *SECRETS):
        variable = f"{PREFIX}{name.upper()}"
        text = (os.environ if environment is None else environment).get(variable, "")
        if text:
            values[name], origin[name] = _of_text(name, variable, text), variable
    try:
        return Settings(**values)
    except ValueError as error:
        name = str(error).split()[0]
        raise ValueError(f"{origin[name]}: {error}" if name in origin else str(error)) from None


def _of_file(file: str | Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Values by name, and where each is from."""
    path = Path(FILE if file is None else file)
    if file is None and not path.exists():
        return {}, {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be TOML: {error}") from None
    for key in values:
        if key in SECRETS:
            raise ValueError(f"{path}: {key} must come from the environment, {PREFIX}{key.upper()}, not from a file")
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{path}: unknown key {key!r}{meant}; it may have {', '.join(KEYS)}")
    return values, dict.fromkeys(values, str(path))


def _of_text(name: str, variable: str, text: str) -> Any:
    kind = type(getattr(Settings, name))
    try:
        return kind(text)
    except ValueError:
        rule = "a whole number" if kind is int else "a number"
        raise ValueError(f"{variable} must be {rule}; got {text!r}") from None
