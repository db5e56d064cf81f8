"""An export's returns, share by share: a queue of single shares in plain Python says which come back."""

import random

import pandas as pd

from mmlib.stock_loan import kpis, sources

HEAD = "tradeDate,securityId,counterPartyId,quantityReturned,quantityBorrowed,loanFee,borrowFee,rebateRate\n"


def test_every_share_that_comes_back_is_the_oldest_one_left(tmp_path):
    """Five loans of 3, 5, 7, ... shares, small returns that leave the first one open, then larger ones; two lanes."""
    draw, days = random.Random(11), [f"2025-03-{d:02d}" for d in (3, 4, 5, 6, 7, 10, 11, 12, 13, 14)]
    rows, shares, left = [], {"A": ["opening"] * 4, "B": []}, []
    for i, day in enumerate(days):
        for party in "AB":
            new = 3 + 2 * i if i < 5 else 0
            queue = shares[party] + [day] * new  # a row's own loan stands behind all that were there before
            back = min(draw.randint(1, 2) if i < 5 else draw.randint(3, 12), len(queue) - 1)
            shares[party] = queue[back:]
            fee = 40 + 10 * (i == 6) + (party == "B")  # the seventh day's fee is another, for every open loan
            rows.append(f"{day},X,{party},{back},{new},{fee},{fee - 10},\n")
            left += [(day, party, born, shares[party].count(born), fee) for born in sorted(set(shares[party]))]
    text = {
        "inventory": "tradeDate,securityId,quantityAvailable,marketPrice\n" + "".join(f"{d},X,9,1.00\n" for d in days),
        "loans": HEAD + "".join(rows),
        "opening": "securityId,counterPartyId,quantityOnLoan,loanFee,borrowFee\nX,A,4,40,30\n",
    }
    for name, body in text.items():
        (tmp_path / f"{name}.csv").write_text(body)
    book = sources.open(tmp_path)
    found = kpis.loan_days(book).astype({"loan_id": "str", "client_id": "str"})
    found = [(f"{r.trade_date:%Y-%m-%d}", r.client_id, r.loan_id.rpartition("|")[2], r.quantity, r.loan_fee / 100)
             for r in found.itertuples()]  # fmt: skip
    assert sorted(found) == sorted(left)
    assert max(sum(one[:2] == (day, party) for one in left) for day in days for party in "AB") > 2
    ended = book.loans[book.loans["event"] == "return"]["loan_id"]
    last = {f"X|{party}|{born}" for day, party, born, *_ in left if day == days[-1]}
    assert ended.is_unique
    assert set(book.loans["loan_id"]) == set(ended) | last


def test_the_note_counts_the_days_with_one_benchmark(tmp_path):
    """Fee + rebate: 430 twice on day one, 430 and 440 on day two, 431.5 on day three, nothing on day four."""
    days = ["2025-03-03", "2025-03-04", "2025-03-05", "2025-03-06"]
    (tmp_path / "inventory.csv").write_text(
        "tradeDate,securityId,quantityAvailable,marketPrice\n" + "".join(f"{d},X,9,1.00\n" for d in days)
    )
    rates = [(days[0], "A", 36, 394), (days[0], "B", 40, 390), (days[1], "A", 36, 394), (days[1], "B", 36, 404),
             (days[2], "A", 36, 395.5)]  # fmt: skip
    (tmp_path / "loans.csv").write_text(HEAD + "".join(f"{d},X,{p},0,1,{fee},20,{r}\n" for d, p, fee, r in rates))
    book = sources.open(tmp_path)
    found = dict(zip(book.rates["trade_date"].dt.strftime("%Y-%m-%d"), book.rates["benchmark_rate"], strict=True))
    assert {day: rate for day, rate in found.items() if not pd.isna(rate)} == {days[0]: 430.0, days[2]: 431.5}
    assert "loanFee + rebateRate gives one benchmark on 2 of 4 trade dates; the others have none" in book.notes
