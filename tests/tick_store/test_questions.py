"""Three languages, one answer: DuckDB's SQL on the folder's snapshot, qSQL on the test server, pandas by hand.

Prices are multiples of 1/64 and sums stay below 2**53/64, so that sums in any order are exact; an average is one
division of two such sums, and equal to the bit.
"""

import numpy as np
import pandas as pd
import pytest

from mmlib import tick_store
from mmlib.stock_loan import kpis, sources, tables
from mmlib.stock_loan._schemas import KEYS
from mmlib.tick_store import StoreError, questions

DAY = "2026-01-02"


def day_of_trading(seed, n):
    """n trades and 3 n quotes of four names, in order of time, no two rows of a table at one time."""
    rng = np.random.default_rng(seed)

    def times(count):
        return pd.Timestamp("2026-01-02T09:30") + pd.to_timedelta(np.sort(rng.choice(23_400_000, count, False)), "ms")

    def syms(count):
        return np.array(["AAA", "B.B", "ünï", "z"], object)[rng.integers(0, 4, count)]

    bid = rng.integers(64, 6400, 3 * n) / 64
    trade = {
        "time": times(n),
        "sym": syms(n),
        "price": rng.integers(64, 6400, n) / 64,
        "size": rng.integers(1, 10**6, n),
    }
    quote = {"time": times(3 * n), "sym": syms(3 * n), "bid": bid, "ask": bid + rng.integers(0, 64, 3 * n) / 64}
    quote["bid"][::7] = np.nan
    return pd.DataFrame(trade), pd.DataFrame(quote)


@pytest.fixture
def folder(tmp_path):
    with tick_store.open(tmp_path / "store", durable=False) as store:
        yield store


def compare(answer, expected):
    keys = [name for name in ("time", "sym", "bar", "security_id") if name in expected]
    answer, expected = (
        table.sort_values(keys, ignore_index=True)[list(expected)].astype({name: "datetime64[ns]" for name in times})
        for table in (answer, expected)
        for times in [[name for name in ("time", "bar") if name in expected]]
    )
    pd.testing.assert_frame_equal(answer, expected.astype(answer.dtypes.to_dict()), check_exact=True)


@pytest.mark.parametrize(
    "seed, n", [(1, 1), (2, 500), *[pytest.param(seed, 20_000, marks=pytest.mark.deep) for seed in range(3, 9)]]
)
def test_trades_and_quotes_have_one_answer_in_three_languages(server, folder, seed, n):
    """pandas shares no code with the two texts; the same script fills the folder and the server."""
    trade, quote = day_of_trading(seed, n)
    with tick_store.open(server) as ticker:
        for store in (folder, ticker):
            for name, table in {"trade": trade, "quote": quote}.items():
                store.publish({name: table.iloc[: len(table) // 2]})
                store.publish({name: table.iloc[len(table) // 2 :]})
        by = trade.assign(turnover=trade["price"] * trade["size"]).groupby("sym")
        sums = by[["size", "turnover"]].sum()
        volume = pd.DataFrame(
            {"volume": sums["size"], "vwap": sums["turnover"] / sums["size"], "closing": by["price"].last()}
        ).reset_index()
        bar = trade.groupby(["sym", trade["time"].dt.floor("5min").rename("bar")])
        bars = pd.DataFrame(
            {
                "opening": bar["price"].first(),
                "high": bar["price"].max(),
                "low": bar["price"].min(),
                "closing": bar["price"].last(),
                "volume": bar["size"].sum(),
            }
        ).reset_index()
        quoted = pd.merge_asof(trade, quote, on="time", by="sym")
        for question, expected in [
            (questions.VOLUME, volume),
            (questions.BARS, bars),
            (questions.QUOTED, quoted),
        ]:
            compare(folder.snapshot().sql(question.sql), expected)
            compare(ticker.snapshot().sql(question.sql), expected)
            compare(ticker.sql(question.qsql), expected)


def test_a_trade_whose_price_is_unknown_has_no_weight(folder):
    """By hand: 1 at 10, 8 at nobody knows what, 3 at 20."""
    times = pd.to_datetime([0, 1, 2], unit="s")
    folder.publish({"trade": pd.DataFrame({"time": times, "sym": "a", "price": [10, np.nan, 20], "size": [1, 8, 3]})})
    answer = folder.snapshot().sql(questions.VOLUME.sql)
    assert answer.loc[0].tolist() == ["a", 12, 17.5, 20.0]


def test_lent_and_lendable_are_the_desks_key_figures(load, server, folder):
    """The sample's eleven tables; `kpis.table` computes both from the book, by another route than either text."""
    book = sources.open(sources.SAMPLE)
    folder.publish({name: getattr(book, name) for name in ("loans", "inventory")})
    for name in ("loans", "inventory"):
        load(name, getattr(book, name))
    known = kpis.table(book, by=["security_id"], period="day")
    with tick_store.open(server) as ticker:
        for date in (book.dates[0], book.dates[len(book.dates) // 2], book.dates[-1]):
            loans = book.loans[book.loans["trade_date"] <= date]
            sign = loans["event"].map({"opening": 1, "new": 1, "partial return": -1, "buy-in": -1, "return": -1})
            lent = (loans["quantity"] * sign.fillna(0)).astype("int64").groupby(loans["security_id"]).sum()
            held = tables.as_of(book.inventory, date, KEYS["inventory"][1:])
            available = held.groupby("security_id")["quantity_available"].sum()
            for question, expected in [(questions.LENT, lent), (questions.AVAILABLE, available)]:
                dated = question.on(f"{date:%Y-%m-%d}")
                answer = ticker.sql(dated.qsql).sort_values("security_id", ignore_index=True)
                pd.testing.assert_frame_equal(folder.snapshot().sql(dated.sql), answer)
                assert answer.set_index("security_id").iloc[:, 0].to_dict() == expected.to_dict()
            lendable = lent.add(available, fill_value=0)
            ratio = known.loc[date, "utilisation_quantity"]
            assert len(ratio) > 50
            np.testing.assert_allclose(
                lent.reindex(ratio.index, fill_value=0) / lendable.reindex(ratio.index), ratio, rtol=4e-16
            )  # one rounding in each


def test_a_day_of_the_history_is_the_day_that_was_closed(load, server, folder):
    """Two days in the folder's Parquet; on the server, as in a historical database, a table with a column date."""
    past = []
    for date, seed in [("2026-01-02", 11), ("2026-01-05", 12)]:
        trade, _ = day_of_trading(seed, 300)
        folder.publish({"trade": trade})
        folder.end_of_day(date)
        past.append(trade.assign(date=pd.Timestamp(date).date()))
    load("past", pd.concat(past, ignore_index=True))
    expected = past[0].groupby("sym")["size"].sum().rename("volume").reset_index()
    question = questions.PAST_VOLUME.on(DAY)
    with tick_store.open(server, read_only=True) as database:
        compare(folder.snapshot().sql(question.sql), expected)
        compare(database.sql(question.qsql.replace("trade", "past")), expected)
        day = database.history("past", DAY)
        pd.testing.assert_frame_equal(day[past[0].columns[:4]], past[0].iloc[:, :4], check_dtype=False)
        for name, date, what in [
            ("past;past", DAY, "letters"),
            ("past", "02.01.2026", "YYYY-MM-DD"),
            ("past", None, "YYYY"),
        ]:
            with pytest.raises(StoreError, match=what):
                database.history(name, date)


def test_a_question_is_of_a_day():
    """A day is a date and nothing else, in the form of each language."""
    question = questions.LENT.on(DAY)
    assert "date '2026-01-02'" in question.sql and "<=2026.01.02," in question.qsql
    for date in ("2026-1-2", "2026-02-30", "'; drop table loans; --", 20260102):
        with pytest.raises(StoreError, match="YYYY-MM-DD"):
            questions.LENT.on(date)
