"""Packages of an extra, asked for in one way: imported by the function that needs them, named by the extra to install.

prophet = optional.load("prophet", "forecast", "Prophet's forecasts")
"""

from importlib import import_module
from types import ModuleType


def load(name: str, extra: str, purpose: str) -> ModuleType:
    """The module `name`, imported.

    Parameters
    ----------
    name : str
        Module to import, with its dots.
    extra : str
        Extra of mmlib that brings it.
    purpose : str
        What needs it, to begin the message with.

    Raises
    ------
    ImportError
        If the module or a package that it needs is not installed; the message says what to install.
    """
    try:
        return import_module(name)
    except ImportError as error:
        missing = (error.name or name).partition(".")[0]
        raise ImportError(f'{purpose} need {missing}: pip install "mmlib[{extra}]"', name=missing) from error
