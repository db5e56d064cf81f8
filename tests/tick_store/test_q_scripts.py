"""The q scripts: what can be said of them without q, and, where MMLIB_Q_HOST names a host that runs them, what they do.

The host runs the four as mmlib/tick_store/q/README.txt has it, with nobody else publishing.
"""

import os
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmlib import tick_store
from mmlib.stock_loan import sources
from mmlib.stock_loan._schemas import COLUMNS
from mmlib.tick_store import questions

SCRIPTS = Path(tick_store.__file__).parent / "q"
HOST = os.environ.get("MMLIB_Q_HOST", "")
with_q = pytest.mark.skipif(not HOST, reason="MMLIB_Q_HOST names no host with q: the scripts are not run here")


def test_every_script_says_that_it_is_not_run_here():
    """And the README names each of them."""
    scripts = sorted(SCRIPTS.glob("*.q"))
    assert [script.name for script in scripts] == ["hdb.q", "rdb.q", "schema.q", "stock_loan.q", "tick.q"]
    readme = (SCRIPTS / "README.txt").read_text()
    for script in scripts:
        text = script.read_text()
        assert "Not run here" in "\n".join(text.splitlines()[:2]), script
        assert script.name in readme or script.name == "schema.q"
        bare = re.sub(r'"(\\.|[^"\\])*"|(^|\s)/.*', "", text, flags=re.M)  # without strings and comments
        for left, right in ("()", "[]", "{}"):
            assert bare.count(left) == bare.count(right), (script, left)


def test_the_desks_tables_are_read_with_their_types():
    """D, S, J and F, column by column, are the dates, texts, whole numbers and floats of the tables' schemas."""
    letters = {"M": "D", "O": "S", "i": "J", "f": "F"}
    text = (SCRIPTS / "stock_loan.q").read_text()
    found = dict(re.findall(r'^(\w+):\("([A-Z]+)";enlist","\)0:\.loan\.csv`\1$', text, flags=re.M))
    assert found == {
        name: "".join(letters[rule.dtype.type.kind] for rule in columns.values()) for name, columns in COLUMNS.items()
    }


def test_the_tickerplants_tables_are_the_test_servers():
    """Names and order of the columns in the two scripts, which are in two languages."""
    columns = [
        {
            name: re.findall(r"(\w+): ?`\w+\$\(\)", rest)
            for name, rest in re.findall(r"^(trade|quote): ?\(\[\](.*)\)", text, flags=re.M)
        }
        for text in ((SCRIPTS / "schema.q").read_text(), Path(__file__).with_name("tick.pep").read_text())
    ]
    assert columns[0] == columns[1] and columns[0]["trade"] == ["time", "sym", "price", "size"]


@with_q
def test_q_a_published_update_is_followed_and_asked_for():
    """A feed, a follower and three questions in two languages, of which each needs the real-time database."""
    n = 100
    stamp = int(time.time() * 1e9) // 10**9 * 10**9
    sym = pd.Series([f"T{stamp}"] * n, dtype="str")
    trade = pd.DataFrame({"time": pd.to_datetime(stamp + np.arange(n) * 10**6), "sym": sym, "price": np.arange(n) / 4})
    trade["size"] = np.arange(1, n + 1)
    quote = pd.DataFrame({"time": trade["time"], "sym": sym, "bid": trade["price"] - 0.25, "ask": np.nan})
    with tick_store.open(f"kdb://{HOST}:5010") as ticker, ticker.follow(timeout=5, tables=["trade"]) as follower:
        ticker.publish({"quote": quote})
        ticker.publish({"trade": trade})
        update = next(iter(follower))
        pd.testing.assert_frame_equal(update.tables["trade"], trade, check_dtype=False)
    with tick_store.open(f"kdb://{HOST}:5011", read_only=True) as today:
        while len(today.sql(f"select from trade where sym=`T{stamp}")) < n:
            time.sleep(0.1)
        snapshot = today.snapshot()
        for question in (questions.VOLUME, questions.BARS, questions.QUOTED):
            one, other = (
                table.sort_values([name for name in ("time", "sym", "bar") if name in table], ignore_index=True)
                for table in (snapshot.sql(question.sql), today.sql(question.qsql))
            )
            pd.testing.assert_frame_equal(one, other[list(one)], check_dtype=False, rtol=1e-12)


@with_q
def test_q_the_desks_tables_are_the_samples():
    """Splayed or not, the book of q is the book of the files."""
    book, sample = sources.open(f"kdb://{HOST}:5013"), sources.open(sources.SAMPLE)
    for name in COLUMNS:
        pd.testing.assert_frame_equal(getattr(book, name), getattr(sample, name))
