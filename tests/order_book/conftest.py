"""Real files, where they are: never part of the project."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_user(tmp_path_factory):
    """Events are cached in a folder of the run's, never the user's."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def real():
    folder = os.environ.get("MMLIB_REAL_DATA")
    if not folder:
        pytest.skip("MMLIB_REAL_DATA is not set: no real data here")
    return Path(folder)


@pytest.fixture(scope="session")
def amzn(real):
    from mmlib.order_book import lobster

    return lobster.read(real / "lobster" / "LOBSTER_SampleFile_AMZN_2012-06-21_1.zip")


@pytest.fixture(scope="session")
def goog(real):
    from mmlib.order_book import lobster

    return lobster.read(real / "lobster" / "LOBSTER_SampleFile_GOOG_2012-06-21_1.zip")


@pytest.fixture(scope="session")
def capture(real):
    from mmlib.order_book import binance

    return binance.read_capture(real / "binance" / "usdm_btcusdt_20240808.gz")
