"""Tickets: hand-made differences, sums against the definition, and files that come back as they went."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmlib.stock_loan import allocation, desk, sources, tables, tickets


@pytest.fixture(scope="module")
def sample():
    return sources.open(sources.SAMPLE)


def _whole(solution):
    """Fractions of a share dropped: feasible, since every limit is a most."""
    return replace(solution, x=np.floor(solution.x + 1e-6))


@pytest.fixture(scope="module")
def day(sample):
    """A day with a cost of moving and a penalty: date, problem, solution."""
    date = sample.dates[32]
    problem = allocation.problem(sample, date, turnover_cost=0.02, penalty=1.0)
    return date, problem, _whole(allocation.solve(problem))


@pytest.fixture(scope="module")
def found(sample, day):
    return tickets.table(sample, day[0], day[2])


def _after(book, date, found):
    """The loans open on `date` with every ticket carried out, row by row: (security, pool, client) -> shares, and the
    day's earnings of all, with fees in force as the tickets leave them."""
    events = book.loans[book.loans["trade_date"] <= date]
    close = book.closes[book.closes["trade_date"] == date].set_index("security_id")["close"]
    loans = {}
    for event in events.itertuples():
        loan = loans.setdefault(event.loan_id, [event.security_id, event.pool_id, event.client_id, 0, 0.0, 0.0])
        loan[3] += {"new": 1, "return": -1, "partial return": -1, "buy-in": -1}.get(event.event, 0) * event.quantity
        loan[4:] = event.loan_fee, event.borrow_fee
    for i, ticket in enumerate(found.itertuples()):
        lane = [ticket.security_id, ticket.pool_id, ticket.client_id]
        if ticket.ticket == "new":
            loans[f"new {i}"] = [*lane, ticket.quantity, ticket.loan_fee, ticket.borrow_fee]
            continue
        loan = loans[ticket.loan_id]
        assert loan[:3] == lane
        if ticket.ticket == "return":
            assert loan[4:] == [ticket.loan_fee, ticket.borrow_fee]
            loan[3] -= ticket.quantity
            assert loan[3] >= 0
        else:
            assert loan[3] == ticket.quantity
            loan[4:] = ticket.loan_fee, ticket.borrow_fee
    shares, earned = {}, 0.0
    for security, pool, client, quantity, fee, cost in loans.values():
        if quantity:
            shares[security, pool, client] = shares.get((security, pool, client), 0) + quantity
            earned += quantity * close[security] * (fee - cost) / 1e4 / 360
    return shares, earned


def test_tickets_carried_out_give_the_solution(sample, day, found):
    """Every ticket executed on a ledger kept by hand: the lanes are the solution's, and so are the earnings."""
    date, problem, solution = day
    # returns come before re-rates of what is left
    shares, earned = _after(sample, date, found.sort_values("ticket", key=lambda t: t.map({"return": 0}).fillna(1)))
    x = solution.allocation
    wanted = {
        (problem.securities[s], problem.pools[k], problem.clients[c]): x[s, k, c] for s, k, c in np.argwhere(x > 0)
    }
    assert shares == wanted
    items = allocation.income(problem, x)
    assert earned == pytest.approx(items[["client fees", "source costs"]].sum(), abs=1e-6)
    assert set(found["ticket"]) == {"new", "return", "re-rate"}


def test_dollars_of_the_tickets_are_the_solution_less_today(sample, day, found):
    """Earnings before and after, both from the ledger kept by hand."""
    before, after = (_after(sample, day[0], some)[1] for some in (found.iloc[:0], _in_order(found)))
    assert found["dollars_a_day"].sum() == pytest.approx(after - before, abs=1e-6)


def _in_order(found):
    return found.sort_values("ticket", key=lambda kind: (kind == "re-rate").astype(int))


def test_the_bridge_ends_at_the_solutions_value(sample, day, found):
    date, problem, solution = day
    steps = tickets.bridge(sample, date, solution)
    assert steps["solution"] == pytest.approx(solution.value, abs=1e-6)
    assert steps["today"] == pytest.approx(_after(sample, date, found.iloc[:0])[1], abs=1e-6)
    for kind in ("new", "return", "re-rate"):
        mine = found[found["ticket"] == kind]
        assert steps[kind] == pytest.approx(mine["dollars_a_day"].sum())
    moved = np.abs(solution.allocation - problem.previous).sum((1, 2)) @ problem.price * 0.02e-4
    assert steps["turnover"] == pytest.approx(-moved)
    unmet = problem.price @ (problem.demand.sum(1) - solution.allocation.sum((1, 2))) * 1.0 / 1e4 / 360
    assert steps["penalties and risk"] == pytest.approx(-unmet)
    assert steps["not re-rated"] == 0


def test_small_changes_of_fees_can_be_left(sample, day, found):
    date, _, solution = day
    fewer = tickets.table(sample, date, solution, rerate=5.0)
    rates = [some[some["ticket"] == "re-rate"].set_index("loan_id") for some in (found, fewer)]
    assert 0 < len(rates[1]) < len(rates[0])
    in_force = sample.loans[sample.loans["trade_date"] <= date].groupby("loan_id")[["loan_fee", "borrow_fee"]].last()
    change = (rates[0][["loan_fee", "borrow_fee"]] - in_force.reindex(rates[0].index)).abs().max(axis=1)
    assert set(rates[1].index) == set(change.index[change > 5.0])
    steps = tickets.bridge(sample, date, solution, rerate=5.0)
    assert steps["solution"] == pytest.approx(solution.value, abs=1e-6)
    left = rates[0].loc[change.index[change <= 5.0], "dollars_a_day"].sum()
    assert steps["not re-rated"] == pytest.approx(left)


def test_over_borrows_are_returned_and_save_the_pools_fee(sample, day, found):
    """Loans at no fee, which no client needs: all of them, each at − (0 − g⁰)."""
    date = day[0]
    events = sample.loans[sample.loans["trade_date"] <= date]
    open_ = tables.signed_quantity(events).groupby(events["loan_id"]).sum()
    last = events.drop_duplicates("loan_id", keep="last").set_index("loan_id")
    idle = last[(last["loan_fee"] == 0) & (open_.reindex(last.index) > 0)]
    assert len(idle) > 0
    mine = found[found["loan_id"].isin(idle.index)].set_index("loan_id")
    assert (mine["ticket"] == "return").all()
    assert mine["quantity"].to_dict() == open_[idle.index].to_dict()
    close = sample.closes[sample.closes["trade_date"] == date].set_index("security_id")["close"]
    saved = mine["quantity"] * mine["security_id"].map(close) * idle["borrow_fee"].reindex(mine.index) / 3.6e6
    assert mine["dollars_a_day"].to_numpy() == pytest.approx(saved.to_numpy())


def test_the_loans_that_earn_least_go_back_first(sample):
    """One lane, three loans at margins 40, 10 and 25 bp; of 600 shares 250 are kept: two go whole, one in part."""
    date = sample.dates[0]
    lane = {"security_id": "S0000", "client_id": sample.eligibility["client_id"].iloc[0]}
    pool = sample.eligibility["pool_id"].iloc[0]
    loans = pd.DataFrame({
        "trade_date": date, "loan_id": ["A", "B", "C"], "event": "new", **lane, "pool_id": pool,
        "quantity": [400, 100, 100], "loan_fee": [50.0, 50.0, 50.0], "borrow_fee": [10.0, 40.0, 25.0],
        "rebate_rate": np.nan})  # fmt: skip
    book = replace(sample, loans=loans, locates=sample.locates.iloc[:0])
    problem = allocation.problem(book, date)
    supply = np.zeros(problem.shape[:2])
    supply[0, problem.pools.index(pool)] = 600
    demand = np.where(problem.demand > 0, 250.0, 0.0)
    problem = replace(problem, demand=demand, supply=supply, client_fee=50.0, source_cost=10.0, concentration=1.0)
    found = tickets.table(book, date, allocation.solve(problem))
    assert set(found["ticket"]) == {"return"}
    assert found.set_index("loan_id")["quantity"].to_dict() == {"A": 150, "B": 100, "C": 100}


def test_a_file_of_tickets_comes_back_as_it_went(found, tmp_path):
    tickets.write(found, tmp_path / "tickets.csv")
    pd.testing.assert_frame_equal(tickets.read(tmp_path / "tickets.csv"), found, check_exact=True)
    tickets.write(found.iloc[:0], tmp_path / "none.csv")
    pd.testing.assert_frame_equal(tickets.read(tmp_path / "none.csv"), found.iloc[:0], check_exact=True)


def test_floats_of_any_digits_come_back(found, tmp_path):
    """17 significant digits, with exponents: text to float and back must round to the same double."""
    rng = np.random.default_rng(0)
    some = found.iloc[:200].copy()
    some["dollars_a_day"] = rng.normal(size=len(some)) * 10.0 ** rng.integers(-12, 9, len(some))
    tickets.write(some, tmp_path / "t.csv")
    assert (tickets.read(tmp_path / "t.csv")["dollars_a_day"].to_numpy() == some["dollars_a_day"].to_numpy()).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("new,", "buy,", "ticket must be one of new, return, re-rate"),
        ("dollars_a_day", "dollars", "columns must be"),
        ("2025-", "2025/", "trade_date must be a date"),
    ],
)
def test_a_spoiled_file_is_refused_by_name(found, tmp_path, old, new, message):
    tickets.write(found, tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text()
    (tmp_path / "t.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(tables.TableError, match=rf"t\.csv: .*{message}"):
        tickets.read(tmp_path / "t.csv")


def test_a_cut_file_and_no_shares_are_refused(found, tmp_path):
    tickets.write(found, tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text()
    (tmp_path / "t.csv").write_text(text[:-3])
    with pytest.raises(tables.TableError, match="line end"):
        tickets.read(tmp_path / "t.csv")
    tickets.write(found.assign(quantity=0), tmp_path / "t.csv")
    with pytest.raises(tables.TableError, match="quantity must be > 0"):
        tickets.read(tmp_path / "t.csv")


def test_fractions_another_day_and_a_negative_threshold_are_refused(sample, day):
    date, _, solution = day
    half = replace(solution, x=solution.x + 0.5)
    with pytest.raises(ValueError, match="solution must be in whole shares"):
        tickets.table(sample, date, half)
    with pytest.raises(ValueError, match="rerate must be >= 0"):
        tickets.table(sample, date, solution, rerate=-1.0)
    small = desk.book(securities=20, days=10, clients=3, seed=1)
    other = allocation.solve(allocation.problem(small, small.dates[5]))
    with pytest.raises(ValueError, match="solution must be of this book and date: loan"):
        tickets.table(sample, date, _whole(other))


def test_tickets_of_a_solution_in_lots_are_in_lots(sample):
    """Today's loans of the sample are in round lots; so is then every ticket, and carrying them out leaves lots."""
    date = sample.dates[32]
    solution = tickets.whole(allocation.round_lots(allocation.solve(allocation.problem(sample, date))))
    found = tickets.table(sample, date, solution)
    lots = dict(zip(sample.securities["security_id"], sample.securities["round_lot"], strict=True))
    assert len(found) > 100
    assert all(row.quantity % lots[row.security_id] == 0 for row in found.itertuples())
    shares, _ = _after(sample, date, _in_order(found))
    assert all(quantity % lots[lane[0]] == 0 for lane, quantity in shares.items())
    plain = tickets.table(sample, date, _whole(allocation.solve(solution.problem)))
    assert any(row.quantity % lots[row.security_id] for row in plain.itertuples())


def test_one_lender_of_unknown_kind_makes_no_offer_to_re_rate(sample, day, found):
    """The same book with all its pools' shares in one of unknown kind, and fees that have moved since the loans."""
    pool = sample.pools.iloc[:1].assign(pool_type="unknown", client_id="", concentration_limit=1.0)
    only = pool["pool_id"].iloc[0]
    everyone = pd.DataFrame({"pool_id": only, "client_id": sample.clients["client_id"]})
    nothing = sample.inventory.iloc[:0]
    merged = replace(sample, pools=pool, eligibility=everyone, loans=sample.loans.assign(pool_id=only),
                     inventory=nothing)  # fmt: skip
    date = day[0]
    solution = _whole(allocation.solve(allocation.problem(merged, date)))
    table = tickets.table(merged, date, solution)
    assert (found["ticket"] == "re-rate").any()
    assert (table["ticket"] == "return").any()
    assert not (table["ticket"] == "re-rate").any()
    steps = tickets.bridge(merged, date, solution)
    assert steps["re-rate"] == 0
    assert steps["not re-rated"] != 0
    assert steps["solution"] == pytest.approx(solution.value, abs=1e-6)
    named = replace(merged, pools=pool.assign(pool_type="street"))
    assert (tickets.table(named, date, solution)["ticket"] == "re-rate").any()


@pytest.mark.parametrize("column", ["security_id", "pool_id", "client_id", "loan_id"])
@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_a_name_that_a_spreadsheet_would_compute_is_not_written(found, tmp_path, column, name):
    bad = found.copy()
    bad.loc[3, column] = name
    with pytest.raises(tables.TableError, match=rf"^t\.csv: {column} must not begin with .*; 1 of {len(found)} rows"):
        tickets.write(bad, tmp_path / "t.csv")
    assert list(tmp_path.iterdir()) == []
    bad.loc[3, column] = f"x{name}"
    tickets.write(bad, tmp_path / "t.csv")
