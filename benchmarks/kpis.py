"""KPIs of a generated book: what their sums cost.

    python benchmarks/kpis.py [securities] [days]        # 1,000 × 250 unless given; the full desk is 5,000 × 750

Prints seconds and seconds per million loan-days.
"""

import resource
import sys
import time

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
    print(f"{'sums by day and':<26}{'groups':>10}{'seconds':>10}{'s, 1e6 loan-days':>18}")
    for by in GROUPINGS:
        taken, found = seconds(lambda by=by: kpis.sums(book, by))
        print(f"{', '.join(by) or 'nothing else':<26}{len(found):>10,}{taken:>10.3g}{taken / million:>18.3g}")
    whole, _ = seconds(lambda: kpis.table(book, ["security_id"], "month"))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\nevery KPI by security and month {whole:.3g} s; peak memory {memory:.2g} GB")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
