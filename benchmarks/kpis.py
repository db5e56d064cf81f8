"""KPIs of a generated book: pandas against DuckDB, on the same work, with equal results.

    python benchmarks/kpis.py [securities] [days]        # 1,000 × 250 unless given; the full desk is 5,000 × 750

Prints seconds per million loan-days and ratios; ratios are what to compare between machines.
"""

import resource
import sys
import time

import pandas as pd

from mmlib.stock_loan import desk, kpis

GROUPINGS = [(), ("security_id",), ("client_id",), ("sector", "pool_type")]


def seconds(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main(securities=1_000, days=250):
    built, book = seconds(lambda: desk.book(securities, days, clients=20))
    million = len(kpis.loan_days(book)) / 1e6
    print(f"{securities:,} securities × {days} days: {len(book.loans):,} loan events, {million:.3g} million loan-days;")
    print(f"generated and checked in {built:.3g} s\n")
    heads = ("groups", "pandas s", "DuckDB s", "ratio")
    print(f"{'sums by day and':<26}" + "".join(f"{head:>10}" for head in heads) + f"{'DuckDB s, 1e6 loan-days':>26}")
    for by in GROUPINGS:
        slow, first = seconds(lambda by=by: kpis.sums(book, by, "pandas"))
        fast, second = seconds(lambda by=by: kpis.sums(book, by, "duckdb"))
        pd.testing.assert_frame_equal(first, second, check_exact=True)
        name = ", ".join(by) or "nothing else"
        print(f"{name:<26}{len(first):>10,}{slow:>10.3g}{fast:>10.3g}{slow / fast:>10.2f}{fast / million:>26.3g}")
    whole, _ = seconds(lambda: kpis.table(book, ["security_id"], "month"))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\nevery KPI by security and month {whole:.3g} s; peak memory {memory:.2g} GB")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
