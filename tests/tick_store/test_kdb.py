"""The verbs over kdb+'s IPC: against an IPC-compatible test server, and against servers that misbehave."""

import asyncio
import contextlib
import datetime
import itertools
import threading
import time

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mmlib import tick_store
from mmlib.tick_store import StoreError, _kdb_forms


def trades(n, first=0):
    """n rows, a second apart, that tell which they are, as the server keeps them."""
    i = np.arange(first, first + n)
    return pd.DataFrame(
        {
            "time": pd.to_datetime(i, unit="s").astype("datetime64[ns]"),
            "sym": pd.Series(np.where(i % 2, "b", "a"), dtype="str"),
            "price": i + 0.25,
            "size": i,
        }
    )


LONGEST = 106_751 * 86_400 * 10**6  # microseconds: the whole days of int64's nanoseconds
KINDS = {
    "b": pl.Boolean, "h": pl.Int16, "i": pl.Int32, "j": pl.Int64, "e": pl.Float32, "f": pl.Float64, "s": pl.String,
    "p": pl.Datetime("ns"), "d": pl.Date, "n": pl.Duration("ns"),
}  # fmt: skip
ROW = {
    "b": True, "h": 1, "i": 2, "j": 3, "e": 0.5, "f": 0.25, "s": "x", "p": pd.Timestamp("2026-01-02").to_pydatetime(),
    "d": pd.Timestamp("2026-01-02").date(), "n": pd.Timedelta("1s").to_pytimedelta(),
}  # fmt: skip


def kinds(**columns):
    """A Polars table with a column of each kind, rows of plain values but for the columns given."""
    n = len(next(iter(columns.values()))) if columns else 1
    return pl.DataFrame(
        [pl.Series(name, columns.get(name, [ROW[name]] * n), dtype=kind) for name, kind in KINDS.items()]
    )


@pytest.mark.parametrize("form", [lambda t: t, pl.from_pandas, pa.Table.from_pandas], ids=["pandas", "polars", "arrow"])
def test_what_is_published_is_in_the_next_snapshot(server, form):
    """publish returns after `.u.upd` has run; whatever library the table is of, the same rows come back, in order."""
    with tick_store.open(server) as store:
        assert store.publish({"trade": form(trades(5))}) is None
        store.publish({"trade": form(trades(3, first=5))})
        snapshot = store.snapshot()
        assert snapshot.seq is None and snapshot.names == ["quote", "trade"]
        pd.testing.assert_frame_equal(snapshot.table("trade"), trades(8))
        assert len(snapshot.table("quote")) == 0 and list(snapshot.table("quote")) == ["time", "sym", "bid", "ask"]
        store.publish({"trade": form(trades(0))})
        store.publish({"trade": form(trades(1, first=8))})
        assert len(snapshot.table("trade")) == 8
        assert snapshot.sql("select count(*) as n from trade where price > 3")["n"].tolist() == [5]
        with pytest.raises(StoreError, match="no table 'kinds'"):
            snapshot.table("kinds")
        with pytest.raises(StoreError, match="has no number"):
            snapshot.rows("trade")
        assert store.snapshot(["kinds"]).names == ["kinds"]


def test_every_kind_of_value_comes_back_as_it_went(server):
    """The unknown float is NaN again; infinities, -0.0, nanoseconds, UTF-8, the least and greatest whole numbers that
    are numbers to kdb+, and unknown numbers, times and days are as they were."""
    columns = {
        "b": [True, False, True, False, True],
        "h": [-(2**15) + 2, 2**15 - 2, 0, None, 7],
        "i": [-(2**31) + 2, 2**31 - 2, 0, None, 7],
        "j": [-(2**63) + 2, 2**63 - 2, 0, None, 2**53 + 1],
        "e": [np.nan, np.inf, -np.inf, None, 0.1],
        "f": [np.nan, np.inf, -np.inf, None, -0.0],
        "s": ["", "ünï ✓", 'a b;c"`', "x" * 5000, " "],
        "d": [pd.Timestamp(day).date() for day in ("1700-01-01", "2300-01-01", "2000-01-01")] + [None, ROW["d"]],
    }
    ns = np.array([2**53 + 1, -(10**18), 0, 9 * 10**18, 1], "int64")
    table = kinds(**columns).with_columns(
        p=pl.Series(ns).cast(pl.Datetime("ns")).replace({pd.Timestamp(0): None}),
        n=pl.Series(ns).cast(pl.Duration("ns")),
    )
    with tick_store.open(server) as store:
        store.publish({"kinds": table})
        back = pl.from_arrow(store.snapshot(["kinds"])._arrow("kinds"))
    expected = table.with_columns(pl.col("e", "f").fill_nan(None))
    assert back.equals(expected, null_equal=True) and back.schema == expected.schema
    assert np.signbit(back["f"][4])


@pytest.mark.parametrize(
    "columns, what",
    [
        ({"b": [True, None]}, "column 'b': unknown boolean.*row 1"),
        ({"s": ["x", None]}, "column 's': unknown text.*row 1"),
        ({"s": ["x", "a\0b"]}, "column 's': a zero byte.*row 1"),
        ({"s": ["x", None, "y", None]}, "column 's': unknown text.*row 1"),
        ({"s": ["x", "a\0b", "\0", "y"]}, "column 's': a zero byte.*row 1"),
        ({"j": [None, 5, 2**63 - 1, 7, -(2**63)]}, f"column 'j': {2**63 - 1} is kdb.*row 2"),
        *[
            ({name: [0, end]}, f"column '{name}': {end} is kdb")
            for name, bits in {"h": 15, "i": 31, "j": 63}.items()
            for end in (-(2**bits), -(2**bits) + 1, 2**bits - 1)
        ],
    ],
)
def test_what_would_come_back_as_something_else_is_not_sent(server, columns, what):
    """Each of these came back changed, without a word, from the test server or would from q's own nulls and ends."""
    with tick_store.open(server) as store:
        with pytest.raises(StoreError, match=f"'kinds', {what}"):
            store.publish({"kinds": kinds(**columns)})
        assert len(store.sql("select from kinds")) == 0


@pytest.mark.parametrize(
    "name, unit, least, greatest, below, above",
    [
        ("p", "ns", "1707-09-23", "2262-04-10T23:59:59.999999999", "1707-09-22T23:59:59.999999999", "2262-04-11"),
        ("p", "us", "1707-09-23", "2262-04-10T23:59:59.999999", "1707-09-22T23:59:59.999999", "2262-04-11"),
        ("p", "ms", "1707-09-23", "2262-04-10T23:59:59.999", "1707-09-22T23:59:59.999", "2262-04-11"),
        ("n", "ns", -LONGEST * 1000, LONGEST * 1000 - 1, -LONGEST * 1000 - 1, LONGEST * 1000),
        ("n", "us", -LONGEST, LONGEST - 1, -LONGEST - 1, LONGEST),
        ("d", "D", "0001-01-01", "9999-12-31", "0000-12-31", "10000-01-01"),
    ],
)
def test_the_first_and_the_last_time_come_back_and_their_neighbours_are_refused(
    server, raw, name, unit, least, greatest, below, above
):
    """The days are the calendar's, by NumPy; what was kept is read by kola alone."""

    def of(*values):
        told = np.array(values, f"{'timedelta64' if name == 'n' else 'datetime64'}[{unit}]").astype("int64")
        kind = {"p": pl.Datetime, "n": pl.Duration}[name](unit) if name != "d" else pl.Date
        return kinds(**{name: [None] * len(told)}).with_columns(pl.Series(name, told).cast(kind))

    with tick_store.open(server) as store:
        for wrong in (below, above):
            with pytest.raises(StoreError, match=f"'kinds', column '{name}': .*; row 1"):
                store.publish({"kinds": of(least, wrong)})
        store.publish({"kinds": of(least, greatest)})
    kept = raw.sync("select from kinds")[name]
    assert kept.cast(kept.dtype if name == "d" else type(kept.dtype)(unit)).equals(of(least, greatest)[name])


@pytest.mark.parametrize(
    "column, what",
    [
        (pd.Series(pd.to_datetime(["1500-01-01"]).astype("datetime64[us]")), "'time'.*1707"),
        (pd.Series(np.array(["2262-04-11T12"], "datetime64[s]")), "'time'.*2262"),
        (pd.Series(pd.to_datetime(["2026-01-02"]).tz_localize("UTC")), "'time'.*does not come back"),
        (pd.Series([[1, 2]]), "'time'.*does not come back"),
        (pd.Series([b"1"]), "'time'.*does not come back"),
        (pd.Series([1], dtype="uint64"), "'time'.*does not come back"),
        (pd.Series([1], dtype="int64"), "must have the server's columns time .*; got time Int64"),
        (pd.Series(pd.to_timedelta([2**63 - 1], "ns")), "'time'.*times"),
    ],
)
def test_columns_that_kdb_cannot_keep_are_named(server, column, what):
    """A column of times in every form that has no place there."""
    with tick_store.open(server) as store, pytest.raises(StoreError, match=what):
        store.publish({"trade": trades(1).assign(time=column)})


def test_a_table_must_be_the_servers(server):
    """Columns travel without names: in another order they would be taken for each other."""
    table = trades(2)
    with tick_store.open(server) as store:
        for bad in (table[["time", "sym", "size", "price"]], table.drop(columns="sym"), table.assign(more=1),
                    table.rename(columns={"sym": "Sym"}), table.astype({"size": "float64"})):  # fmt: skip
            with pytest.raises(StoreError, match="'trade' must have the server's columns time Datetime"):
                store.publish({"trade": bad})
        with pytest.raises(StoreError, match="'0#nothing' is refused"):
            store.publish({"nothing": table})
        with pytest.raises(StoreError, match="index"):
            store.publish({"trade": table.set_index("time")})
        assert len(store.sql("select from trade")) == 0


@pytest.mark.parametrize(
    "name", ["trade;exit 0", "", "1a", "a b", "a\0", "`trade", "a" * 81, "täble", "a..b", "a.", None, 5]
)
def test_a_hostile_name_is_no_question(server, name):
    """What a query cannot carry as a name is refused before it is one, wherever a name is taken."""
    with tick_store.open(server) as store:
        for verb in (
            lambda: store.publish({name: trades(1)}),
            lambda: store.snapshot([name]),
            lambda: store.history(name, "2026-01-02"),
            lambda: store.follow(tables=[name]),
        ):
            with pytest.raises(StoreError, match="name"):
                verb()


def test_a_name_has_80_letters_at_most(load, server, raw):
    load("a" * 80, trades(1))
    with tick_store.open(server) as store:
        store.publish({"a" * 80: trades(1, first=1)})
    assert raw.sync("select from " + "a" * 80)["size"].to_list() == [0, 1]


def test_hostile_columns_are_data(load, server):
    """Names of columns are never part of a question: they come and go as they are."""
    table = pd.DataFrame({"a b; exit 0": [1, 2], "select": [0.5, np.nan], 'quote"`': ["x", ""]})
    load("odd", table)
    with tick_store.open(server) as store:
        store.publish({"odd": table})
        back = store.snapshot(["odd"]).table("odd")
    pd.testing.assert_frame_equal(back, pd.concat([table, table], ignore_index=True), check_dtype=False)


def test_what_kdb_does_not_know_is_refused(server):
    """No number, gap or order of batches is made up; an update of two tables is not sent in two halves."""
    with tick_store.open(server) as store:
        for verb in (
            lambda: store.last("nyse"),
            store.gaps,
            lambda: store.publish({"trade": trades(1)}, source="nyse", number=1),
        ):
            with pytest.raises(StoreError, match="keeps no numbers"):
                verb()
        with pytest.raises(StoreError, match="keeps no batches"):
            store.late()
        with pytest.raises(StoreError, match="since must be None, got 0"):
            store.follow(since=0)
        with pytest.raises(StoreError, match="at least one"):
            store.follow(tables=[])
        for tables in ({"trade": trades(1), "quote": trades(1)}, {}, trades(1)):
            with pytest.raises(StoreError, match="dict of one table"):
                store.publish(tables)
        assert len(store.sql("select from trade")) == 0


def test_an_opened_to_read_store_only_reads(server):
    with tick_store.open(server, read_only=True) as store:
        for verb in (lambda: store.publish({"trade": trades(1)}), lambda: store.end_of_day("2026-01-02")):
            with pytest.raises(StoreError, match="opened to read"):
                verb()
        assert store.sql("select n:sum[size] from trade")["n"].tolist() == [0]


def test_followers_get_what_comes_in_order(server):
    """From the subscription on, each update once, of the tables asked for; the end of the day is not one."""
    with tick_store.open(server) as store:
        store.publish({"trade": trades(1)})
        quote = pd.DataFrame({"time": trades(2)["time"], "sym": ["a", "b"], "bid": [1.0, np.nan], "ask": [2.0, np.nan]})
        with store.follow(timeout=60) as everything, store.follow(timeout=60, tables=["quote"]) as quotes:
            for k in range(1, 30):
                store.publish({"trade": trades(2, first=k)})
            assert store.end_of_day("2026-01-02") == []
            store.publish({"quote": quote})
            updates = list(itertools.islice(everything, 30))
            assert [list(update.tables) for update in updates] == [["trade"]] * 29 + [["quote"]]
            assert all(update[:3] == (None, None, None) for update in updates)
            for k, update in enumerate(updates[:29], 1):
                pd.testing.assert_frame_equal(update.tables["trade"], trades(2, first=k))
            store.publish({"quote": quote.assign(bid=7.0)})
            first, second = (
                update.tables["quote"] for update in itertools.islice(quotes, 2)
            )  # no trade before, between
            pd.testing.assert_frame_equal(first, quote, check_dtype=False)
            assert second["bid"].tolist() == [7.0, 7.0]
        with store.follow(timeout=0) as impatient:
            assert list(impatient) == []
            store.publish({"trade": trades(1, first=99)})
            while not (updates := list(impatient)):  # an iteration ends, the subscription goes on
                time.sleep(0.01)
            assert [update.tables["trade"]["size"].tolist() for update in updates] == [[99]]


def test_a_follower_of_two_tables_is_subscribed_to_both(server, raw):
    """As kola alone finds the server's list of subscribers."""
    with tick_store.open(server) as store, store.follow(timeout=60, tables=["quote", "trade"]) as follower:
        assert raw.sync(".u.w")["name"].to_list() == ["quote", "trade"]
        store.publish({"trade": trades(1)})
        assert list(next(iter(follower)).tables) == ["trade"]


def test_the_day_that_ends_is_the_one_that_was_named(server, raw):
    """As a subscriber is told it, by kola alone."""
    raw.sync(".u.sub", "", "")
    with tick_store.open(server) as store:
        assert store.end_of_day("2024-02-29") == []
    assert raw.receive() == (".u.end", datetime.date(2024, 2, 29))


@pytest.mark.parametrize("day", ["20260102", "2026-W01-5", "2026-1-2", "2026-02-30", "today", "", None, 20260102])
def test_a_day_is_written_in_one_way(server, raw, day):
    """As the folder's store has it; nobody is told that another day is over."""
    raw.sync(".u.sub", "", "")
    with tick_store.open(server) as store:
        for verb in (lambda: store.history("trade", day), lambda: store.end_of_day(day)):
            with pytest.raises(StoreError, match="date must be a day YYYY-MM-DD; got"):
                verb()
        store.end_of_day("2026-01-02")
    assert raw.receive() == (".u.end", datetime.date(2026, 1, 2))


@pytest.mark.deep
def test_every_follower_gets_every_update_once(server):
    """A feed of 3,000 updates; a quick follower, a slow one, one with ``async for``, one that leaves in the middle."""
    sizes = np.random.default_rng(5).integers(1, 50, 3_000)
    seen = {"quick": [], "slow": [], "async": [], "leaves": []}
    with tick_store.open(server) as store:
        followers = {name: store.follow(timeout=10) for name in seen}

        def read(name, most=None):
            for update in followers[name]:
                seen[name].append(update.tables["trade"]["size"].tolist())
                if name == "slow" and len(seen[name]) % 100 == 0:
                    time.sleep(0.05)
                if len(seen[name]) == (most or len(sizes)):
                    followers[name].close()

        async def read_async():
            async for update in followers["async"]:
                seen["async"].append(update.tables["trade"]["size"].tolist())
                if len(seen["async"]) == len(sizes):
                    break

        threads = [
            threading.Thread(target=read, args=["quick"]),
            threading.Thread(target=read, args=["slow"]),
            threading.Thread(target=read, args=["leaves", 700]),
            threading.Thread(target=lambda: asyncio.run(read_async())),
        ]
        for thread in threads:
            thread.start()
        first, sent = 0, []
        for n in sizes:
            store.publish({"trade": trades(n, first=first)})
            sent.append(list(range(first, first + n)))
            first += n
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads)
    assert seen["quick"] == seen["slow"] == seen["async"] == sent and seen["leaves"] == sent[:700]


def test_async_for_shares_the_loop(server):
    """While one task waits for updates, another publishes them; cancelled, it ends and leaves no thread that waits."""

    async def run():
        with tick_store.open(server) as store, store.follow(timeout=10) as follower:
            seen = []

            async def watch():
                async for update in follower:
                    seen.append(len(update.tables["trade"]))
                    if len(seen) == 3:
                        break

            async def feed():
                for n in (1, 2, 3):
                    await asyncio.to_thread(store.publish, {"trade": trades(n)})

            await asyncio.gather(watch(), feed())
            task = asyncio.create_task(watch())
            await asyncio.sleep(0.1)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            return seen

    assert asyncio.run(run()) == [1, 2, 3]


def test_a_cancelled_async_for_closes_its_follower(server):
    """Nothing that arrives after that is an update of it."""

    async def run():
        with tick_store.open(server) as store:
            follower = store.follow(timeout=1)

            async def watch():
                return [update async for update in follower]

            task = asyncio.create_task(watch())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for n in (1, 2):  # a thread that still waited would take the first
                store.publish({"trade": trades(n)})
            return list(follower)

    assert asyncio.run(run()) == []


def test_an_answer_must_be_a_table(server):
    """Numbers, text and errors are one clear error each, with the server's words; the connection goes on."""
    with tick_store.open(server) as store:
        for query, what in [
            ("1+1", "must be a table; got int '2'"),
            ("`a`b", "must be a table; got"),
            ("(trade; quote)", "must be a table; got tuple"),
            ("select from nothing", "is refused.*nothing"),
            ("select from (", "is refused"),
            ("", "must be qSQL"),
            (None, "must be qSQL"),
        ]:
            with pytest.raises(StoreError, match=what):
                store.sql(query)
        assert store.sql("select\nn:sum[size]\nfrom trade")["n"].tolist() == [0]
        store.publish({"trade": trades(3)})
        assert len(store.sql("eval", ["trade"])) == 3  # a function of the server, its argument a symbol


def test_threads_take_turns(server):
    """kola gives up where two threads use one connection; each gets the answer to its own question here."""
    with tick_store.open(server) as store:
        wrong = []

        def ask(k):
            wrong.extend(k for _ in range(30) if store.sql(f"([] n: {k} {k})")["n"].tolist() != [k, k])

        threads = [threading.Thread(target=ask, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def candidates(rng, n):
    """Values of every kind as their bits have them: the ends, their neighbours, and n at random."""
    whole = {name: np.iinfo(f"int{bits}") for name, bits in {"h": 16, "i": 32, "j": 64, "d": 32}.items()}
    near = np.array([*range(-2, 3), 2**53, 10_957, -719_162, 2_932_896, -95_794, 106_750], "int64")
    ints = {
        name: np.concatenate(
            [
                [kind.min + k for k in range(3)],
                [kind.max - k for k in range(3)],
                near[(near >= kind.min) & (near <= kind.max)],
                rng.integers(kind.min, kind.max, n, endpoint=True),
            ]
        ).astype(kind.dtype)
        for name, kind in whole.items()
    }
    days = near * 86_400 * 10**9
    bits = np.concatenate([ints["j"], days[np.abs(near) < 10**5], days[-2:] - 1, days[-2:] + 1])
    letters = np.array(list("ab \t\n\r\"'`;\\\0\x01\x7fäß漢🙂\u2028"))
    texts = ["".join(rng.choice(letters, k % 6)) for k in range(n)]
    return {
        "b": pl.Series([True, False, None]),
        "h": pl.Series(ints["h"]),
        "i": pl.Series(ints["i"]),
        "j": pl.Series(ints["j"]),
        "e": pl.Series(rng.integers(0, 2**32, n, dtype="uint32").view("float32")),
        "f": pl.Series(np.concatenate([bits.view("float64"), [np.nan, np.inf, -np.inf, -0.0]])),
        "s": pl.Series([*texts, None, ""]),
        "p": pl.Series(bits).cast(pl.Datetime("ns")),
        "d": pl.Series(ints["d"]).cast(pl.Date),
        "n": pl.Series(bits).cast(pl.Duration("ns")),
    }


@pytest.mark.parametrize("n", [100, pytest.param(5_000, marks=pytest.mark.deep)])
def test_a_value_comes_back_or_is_refused(server, n):
    """Whatever its bits: those that are not refused alone are sent together, and none has changed."""
    refused = {}
    with tick_store.open(server) as store:
        for name, values in candidates(np.random.default_rng(n), n).items():
            kept = []
            for k in range(len(values)):
                try:
                    _kdb_forms.columns("kinds", pl.DataFrame({name: values[k : k + 1]}))
                    kept.append(k)
                except StoreError:
                    refused.setdefault(name, set()).add(values.to_physical()[k])
            column = values.gather(kept)
            table = kinds(**{name: column})
            store.publish({"kinds": table})
            back = pl.from_arrow(store.snapshot(["kinds"])._arrow("kinds"))[name].tail(len(column))
            expected = column.fill_nan(None) if column.dtype.is_float() else column
            assert back.to_physical().equals(expected.to_physical(), null_equal=True), name
            if column.dtype.is_float():
                same = np.signbit(back.drop_nulls().to_numpy()) == np.signbit(expected.drop_nulls().to_numpy())
                assert same.all()
    for name, bits in {"h": 15, "i": 31, "j": 63}.items():
        assert refused.pop(name) == {-(2**bits), -(2**bits) + 1, 2**bits - 1}
    assert refused.pop("b") == {None} and refused.pop("s") >= {None} and set(refused) == {"p", "d", "n"}
    assert min(abs(value) for name in ("p", "n") for value in refused[name]) > 2**62
