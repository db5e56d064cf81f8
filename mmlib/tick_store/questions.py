"""The same questions in DuckDB's SQL and in qSQL.

    >>> snapshot.sql(questions.BARS.sql)                            # today's tables of a folder, or copied from kdb+
    >>> ticker.sql(questions.BARS.qsql)                             # where the tables are
    >>> ticker.sql(questions.LENT.on("2026-01-02").qsql)            # {day} filled

The tables are kdb+tick's `trade` (time, sym, price, size) and `quote` (time, sym, bid, ask), and the desk's `loans` and
`inventory` (`mmlib.stock_loan.tables`). The texts differ where the languages do: SQL's rows have no order, so that the
last price is the one of the latest time, qSQL's is the table's last; ``aj`` is the ``asof`` join, and takes the quotes
in order of time within each sym. Functions are written with brackets, ``sum[size]`` for ``sum size``, so that every
text means one thing however a server orders operators. Rows come sorted by the keys from SQL and from kdb+.
Where two quotes of a sym have one time, ``aj`` takes the later row and SQL either.

`LENT` and `AVAILABLE` take the rows of these two as they lie there: a folder's closed days are not among them but in
``history.loans`` and ``history.inventory``, and a loan's row that was sent again counts twice.
`mmlib.stock_loan.intraday` knows both.
"""

from typing import NamedTuple

from mmlib.tick_store._kdb_forms import day


class Question(NamedTuple):
    """A question in two languages.

    Attributes
    ----------
    sql, qsql : str
        Texts for `Snapshot.sql` and `KdbStore.sql`, with the same columns in their answers.
    """

    sql: str
    qsql: str

    def on(self, date: str) -> "Question":
        """The question for one day, YYYY-MM-DD; StoreError if that is none."""
        known = day(date)
        return Question(self.sql.format(day=f"{known:%Y-%m-%d}"), self.qsql.format(day=f"{known:%Y.%m.%d}"))


#: Shares traded, their average price weighted by size (of those whose price is known), and the last price, by sym.
VOLUME = Question(
    """\
select sym, sum(size)::bigint as volume,
       sum(size * price) / sum(size) filter (where price is not null) as vwap,
       last(price order by time) as closing
from trade group by sym order by sym""",
    """\
select volume:sum[size], vwap:wavg[size;price], closing:last[price]
  by sym from trade""",
)

#: Bars of five minutes, by sym.
BARS = Question(
    """\
select sym, time_bucket(interval '5 minutes', time) as bar,
       first(price order by time) as opening, max(price) as high, min(price) as low,
       last(price order by time) as closing, sum(size)::bigint as volume
from trade group by sym, bar order by sym, bar""",
    """\
select opening:first[price], high:max[price], low:min[price],
  closing:last[price], volume:sum[size]
  by sym, bar:xbar[0D00:05:00;time] from trade""",
)

#: Every trade with the quote that was in force.
QUOTED = Question(
    """\
select trade.*, bid, ask
from trade asof left join quote on trade.sym = quote.sym and trade.time >= quote.time
order by trade.time, trade.sym""",
    "aj[`sym`time; trade; quote]",
)

#: Shares on loan at the close of a day, by name: what went out less what came back.
LENT = Question(
    """\
select security_id,
       sum(case when event in ('opening', 'new') then quantity
                when event = 'recall' then 0 else -quantity end)::bigint as lent
from loans where trade_date <= date '{day}'
group by security_id order by security_id""",
    """\
select lent:sum[quantity*((2*(event in `opening`new))-1)]
  by security_id from loans where trade_date<={day}, not event=`recall""",
)

#: Shares not on loan in the pools at the close of a day, by name; lendable is lent and available.
AVAILABLE = Question(
    """\
select security_id, sum(quantity)::bigint as available
from (select security_id, pool_id, last(quantity_available order by trade_date) as quantity
      from inventory where trade_date <= date '{day}' group by security_id, pool_id)
group by security_id order by security_id""",
    """\
select available:sum[quantity] by security_id from
  (select quantity:last[quantity_available] by security_id, pool_id
   from inventory where trade_date<={day})""",
)

#: Shares traded on one day of the history, by sym.
PAST_VOLUME = Question(
    """\
select sym, sum(size)::bigint as volume
from history.trade where date = date '{day}' group by sym order by sym""",
    "select volume:sum[size] by sym from trade where date={day}",
)
