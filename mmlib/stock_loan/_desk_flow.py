"""One day after another at the generated desk: supply moves, loans come back, locates settle, lenders recall.

Every step is vectorised over the open loans or over the day's requests; the only loops are over days and, when shares
are handed out, over the pools in merit order. A loan has at most one kind of event a day, except that a recall that
could be covered only in part ends in a partial return and a buy-in, and that a loan of which part came back may be
closed for its lender's limit.
"""

import numpy as np
import pandas as pd

from mmlib.stock_loan._desk_limits import LOT, Limits, newest

#: By bucket GC, warm, special.
TENURE = np.array([12.0, 15.0, 20.0])  # mean trading days on loan
REQUESTS = np.array([0.15, 0.4, 1.0])  # locates a day and name
CONVERSION = 0.45  # mean of what is sold short over what is approved
OVERBOOKING = 1.5  # locates approved over shares free, since not half of them is used
REHYPOTHECATION_LIMIT = 1.4  # of a margin client's debit, SEC rule 15c3-3
NEVER = -1
EVENTS = ("new", "re-rate", "recall", "partial return", "buy-in", "return")


class _Ledger:
    """The open loans as arrays of one length, and the log of their events."""

    def __init__(self):
        whole = ("loan", "security", "client", "pool", "balance", "due", "covered", "touched")
        self.open = {name: np.zeros(0, dtype=np.int64) for name in whole}
        self.open |= {name: np.zeros(0) for name in ("loan_fee", "borrow_fee", "reference")}
        self.count, self.log = 0, []

    def __getitem__(self, name):
        return self.open[name]

    def begin(self):
        """A new day: drop what is closed."""
        keep = self["balance"] > 0
        self.open = {name: column[keep] for name, column in self.open.items()}
        self["touched"][:] = 0

    def record(self, t, event, which, quantity, short):
        """Log `event` of the loans `which`; `short` is what it adds to the client's short position."""
        if event in ("partial return", "buy-in", "return"):
            self["balance"][which] -= quantity
        self["touched"][which] = 1
        columns = {name: self[name][which] for name in ("loan", "security", "client", "pool", "loan_fee", "borrow_fee")}
        shape = np.zeros(len(which), dtype=np.int64)
        extra = {
            "t": shape + t,
            "event": shape + EVENTS.index(event),
            "quantity": quantity + shape,
            "short": short + shape,
        }
        self.log.append(columns | extra)

    def add(self, t, security, client, pool, quantity, fee, lanes):
        """Open new loans at today's fees."""
        m = len(security)
        new = {"loan": self.count + np.arange(m), "security": security, "client": client, "pool": pool,
               "balance": quantity, "due": np.full(m, NEVER), "covered": np.zeros(m, dtype=np.int64),
               "touched": np.zeros(m, dtype=np.int64), "loan_fee": np.round(fee[security] + lanes["markup"][client], 2),
               "borrow_fee": np.round(fee[security] * lanes["cut"][pool], 2), "reference": fee[security]}  # fmt: skip
        before, self.count = len(self["loan"]), self.count + m
        self.open = {name: np.concatenate([column, new[name]]) for name, column in self.open.items()}
        self.record(t, "new", before + np.arange(m), quantity, quantity)

    def lent(self, shape):
        """Shares on loan by (security, pool)."""
        lent = np.zeros(shape, dtype=np.int64)
        np.add.at(lent, (self["security"], self["pool"]), self["balance"])
        return lent


def run(rng, dates, frames, path, lanes):
    """The tables `debits`, `inventory`, `positions`, `loans` and `locates`, as a dict of DataFrames.

    Parameters
    ----------
    rng : numpy.random.Generator
    dates : DatetimeIndex (days,)
    frames : dict
        The tables made so far; ids and rates are taken from them.
    path, lanes : dict
        From `desk.market` and `desk.parties`.
    """
    ledger, supply, margin = _Ledger(), lanes["supply"], slice(1, 1 + len(lanes["margin"]))
    leverage = rng.uniform(0.35, 0.65, len(lanes["margin"]))
    inventory, longs, debits, locates = [], [], [], []
    last_shown = np.full(supply.shape, NEVER)
    settling = _opening(rng, path, lanes)
    for t, (price, fee) in enumerate(zip(path["price"], path["fee"], strict=True)):
        monday = t == 0 or dates[t].day_of_week < dates[t - 1].day_of_week
        if monday:
            supply = _moved(rng, supply, lanes["supply"])
            debit = np.round(leverage * (price[:, None] * supply[:, margin]).sum(axis=0), 2)
            debits.append((t, debit))
            longs.append((t, supply))
        willing = np.where(lanes["outside"], supply * path["pull"][t][:, None], supply)
        willing = np.round(willing / LOT).astype(np.int64) * LOT

        ledger.begin()
        _come_back(rng, t, ledger, path["bucket"])
        due = np.flatnonzero((ledger["due"] == t) & (ledger["balance"] > 0))
        lent = ledger.lent(supply.shape)
        limits = Limits(ledger, due, (willing > 0) | (lent > 0), lanes["limit"])
        want = np.concatenate([ledger["balance"][due], settling["want"]])
        over, part = limits.over(np.concatenate([ledger["security"][due], settling["security"]]), want)
        old = np.concatenate([due, over])
        need = {name: np.concatenate([ledger[name][old], settling[name]]) for name in ("security", "client")}
        need["want"] = np.concatenate([want[: len(due)], part, want[len(due) :]])
        room = np.full(supply.shape[1], np.inf)
        room[margin] = REHYPOTHECATION_LIMIT * debit - (price[:, None] * lent[:, margin]).sum(axis=0)
        free = np.minimum(np.maximum(willing - lent, 0), limits.headroom)
        request, pool, quantity = _hand_out(need, free, lanes["eligible"], price, room)
        replaces = np.concatenate([np.full(len(due), -1), over, np.full(len(settling["want"]), -1)])[request]
        quantity, back = limits.enforce(need["security"][request], pool, quantity, replaces)
        got = np.zeros_like(need["want"])
        np.add.at(got, request, quantity)
        _end_recalls(t, ledger, due, got[: len(due)])
        _give_back(t, ledger, back)
        request, pool, quantity = request[quantity > 0], pool[quantity > 0], quantity[quantity > 0]
        ledger.add(t, need["security"][request], need["client"][request], pool, quantity, fee, lanes)
        if locates:
            locates[-1]["settled"][settling["locate"]] = got[len(old) :]
        if monday:
            _rerate(t, ledger, fee, lanes)
        supply = _recall(rng, t, ledger, willing, supply, lanes)

        free = np.maximum(willing - ledger.lent(supply.shape), 0)
        shown = lanes["held"] & ((free != last_shown) | (monday & (path["bucket"] > 0))[:, None])
        security, pool = np.nonzero(shown)
        inventory.append((t, security, pool, free[shown], np.round(lanes["cut"][pool] * fee[security], 2)))
        last_shown = free
        locates.append(_locates(rng, t, path, lanes, free))
        chosen = np.flatnonzero(locates[-1]["shorted"] > 0)
        settling = {name: locates[-1][name][chosen] for name in ("security", "client")}
        settling |= {"want": locates[-1]["shorted"][chosen], "locate": chosen}
    return _frames(dates, frames, lanes, path, ledger.log, inventory, longs, debits, locates)


def _moved(rng, supply, usual):
    """A week's change of supply: 15 % noise, and a pull back towards the usual."""
    drift = (np.maximum(usual, 1) / np.maximum(supply, 1)) ** 0.3
    return np.round(supply * drift * rng.lognormal(0, 0.15, supply.shape) / LOT).astype(np.int64) * LOT


def _opening(rng, path, lanes):
    """The book on the first day: each name's usual demand, from three clients."""
    security = np.repeat(np.arange(len(path["demand"])), 3)
    client = rng.choice(len(lanes["weight"]), len(security), p=lanes["weight"])
    want = np.round(path["demand"][security] * rng.uniform(0.1, 0.55, len(security)) / LOT).astype(np.int64) * LOT
    return {"security": security[want > 0], "client": client[want > 0], "want": want[want > 0]}


def _come_back(rng, t, ledger, bucket):
    """Clients return; some returns leave the borrow with the desk for two days, at no fee."""
    balance = ledger["balance"]
    late = np.flatnonzero((ledger["covered"] == 1) & (ledger["due"] == t))
    ledger.record(t, "return", late, balance[late], 0)
    draw, idle = rng.random(len(balance)), ledger["due"] == NEVER
    hazard = 1 / TENURE[bucket[ledger["security"]]]
    back = np.flatnonzero((ledger["covered"] == 0) & (ledger["due"] != t) & (draw < hazard))
    lag = idle[back] & (rng.random(len(back)) < 1 / 6)
    ledger.record(t, "return", back[~lag], balance[back[~lag]], -balance[back[~lag]])
    ledger["loan_fee"][back[lag]], ledger["covered"][back[lag]], ledger["due"][back[lag]] = 0.0, 1, t + 2
    ledger.record(t, "re-rate", back[lag], 0, -balance[back[lag]])
    part = np.round(balance * rng.uniform(0.2, 0.8, len(balance)) / LOT).astype(np.int64) * LOT
    some = np.flatnonzero(idle & (ledger["touched"] == 0) & (draw > 0.97) & (part > 0) & (part < balance))
    ledger.record(t, "partial return", some, part[some], -part[some])


def _hand_out(need, free, eligible, price, room):
    """Shares to requests, pool after pool in merit order, earlier requests first; `room` is dollars left in a pool.

    Returns
    -------
    request, pool, quantity : ndarray of int64, one length
    """
    order = np.argsort(need["security"], kind="stable")
    security, client, left = need["security"][order], need["client"][order], need["want"][order].copy()
    first = np.searchsorted(security, security, side="left")
    given = []
    for k in range(free.shape[1]):
        wanted = left * eligible[client, k]
        before = np.cumsum(wanted) - wanted
        take = np.clip(free[security, k] - (before - before[first]), 0, wanted)
        take[np.cumsum(take * price[security]) > room[k]] = 0
        left -= take
        (hit,) = np.nonzero(take)
        given.append((order[hit], np.full(len(hit), k), take[hit]))
    return tuple(np.concatenate(part) for part in zip(*given, strict=True))


def _end_recalls(t, ledger, due, got):
    """A recall that is due goes back to its lender from other supply, `got`; the rest is bought in."""
    short = ledger["balance"][due] - got
    whole, some, none = (got > 0) & (short == 0), (got > 0) & (short > 0), short > 0
    ledger.record(t, "return", due[whole], got[whole], -got[whole])
    ledger.record(t, "partial return", due[some], got[some], -got[some])
    ledger.record(t, "buy-in", due[none], short[none], -short[none])


def _give_back(t, ledger, back):
    """Shares that leave loans for a lender's limit; `back` has a number for each of the oldest open loans."""
    some, whole = (np.flatnonzero((back > 0) & test) for test in (back < ledger["balance"], back == ledger["balance"]))
    ledger.record(t, "partial return", some, back[some], -back[some])
    ledger.record(t, "return", whole, back[whole], -back[whole])


def _rerate(t, ledger, fee, lanes):
    """On Mondays: a loan whose market fee has moved by more than a tenth takes today's."""
    now = fee[ledger["security"]]
    moved = np.abs(now / ledger["reference"] - 1) > 0.1
    which = np.flatnonzero(moved & (ledger["touched"] == 0) & (ledger["covered"] == 0))
    ledger["loan_fee"][which] = np.round(now[which] + lanes["markup"][ledger["client"][which]], 2)
    ledger["borrow_fee"][which] = np.round(now[which] * lanes["cut"][ledger["pool"][which]], 2)
    ledger["reference"][which] = now[which]
    ledger.record(t, "re-rate", which, 0, 0)


def _recall(rng, t, ledger, willing, supply, lanes):
    """Lenders that have lent more than they will recall their newest loans, outside ones also at random; new supply."""
    shape = supply.shape
    lane = ledger["security"] * shape[1] + ledger["pool"]
    pending = np.bincount(lane, ledger["balance"] * (ledger["due"] != NEVER), supply.size)
    excess = (ledger.lent(shape) - willing).ravel() - pending
    can = (ledger["due"] == NEVER) & (ledger["touched"] == 0) & (ledger["balance"] > 0)
    size = ledger["balance"] * can
    forced = newest(lane, size, excess) > 0
    at_will = lanes["outside"][ledger["pool"]] & (rng.random(len(lane)) < 0.002)
    which = np.flatnonzero(can & (forced | at_will))
    sold = np.flatnonzero(can & ~forced & at_will)
    supply = supply.copy()
    np.subtract.at(supply.ravel(), lane[sold], ledger["balance"][sold])
    ledger["due"][which] = t + 3
    ledger.record(t, "recall", which, ledger["balance"][which], 0)
    return np.maximum(supply, 0)


def _locates(rng, t, path, lanes, free):
    """Requests of the day, what of them is approved from what is free, and what of that is sold short."""
    rate = REQUESTS[path["bucket"]] * path["rush"][t]
    security = np.repeat(np.arange(len(rate)), rng.poisson(rate))
    m = len(security)
    client = rng.choice(len(lanes["weight"]), m, p=lanes["weight"])
    usual = path["demand"] / (REQUESTS * CONVERSION * TENURE)[path["bucket"]]
    requested = np.maximum(1, np.round(usual[security] * rng.lognormal(-0.32, 0.8, m) / LOT)).astype(np.int64) * LOT
    before = np.cumsum(requested) - requested
    before -= before[np.searchsorted(security, security)]
    total = OVERBOOKING * free.sum(axis=1)[security]
    approved = np.round(np.clip(total - before, 0, requested) / LOT).astype(np.int64) * LOT
    converted = np.where(rng.random(m) < 0.325, 0.0, rng.beta(4, 2, m))
    shorted = np.round(approved * converted / LOT).astype(np.int64) * LOT
    fee = np.round(path["fee"][t, security] + lanes["markup"][client], 2)
    return {"t": np.full(m, t), "security": security, "client": client, "requested": requested, "approved": approved,
            "shorted": shorted, "settled": np.zeros(m, dtype=np.int64), "fee": fee}  # fmt: skip


def _frames(dates, frames, lanes, path, log, inventory, longs, debits, locates):
    security, client = (
        frames[f"{n}"][c].to_numpy() for n, c in (("securities", "security_id"), ("clients", "client_id"))
    )
    pool, benchmark = frames["pools"]["pool_id"].to_numpy(), frames["rates"]["benchmark_rate"].to_numpy()
    e = {name: np.concatenate([part[name] for part in log]) for name in log[0]}
    q = {name: np.concatenate([part[name] for part in locates]) for name in locates[0]}
    loans = pd.DataFrame({
        "trade_date": dates[e["t"]], "loan_id": [f"L{i:07d}" for i in e["loan"]], "event": np.array(EVENTS)[e["event"]],
        "security_id": security[e["security"]], "client_id": client[e["client"]], "pool_id": pool[e["pool"]],
        "quantity": e["quantity"], "loan_fee": e["loan_fee"], "borrow_fee": e["borrow_fee"],
        "rebate_rate": np.round(benchmark[e["t"]] - e["loan_fee"], 2)})  # fmt: skip
    requests = pd.DataFrame({
        "trade_date": dates[q["t"]], "locate_id": [f"Q{i:07d}" for i in range(len(q["t"]))],
        "client_id": client[q["client"]], "security_id": security[q["security"]], "quantity_requested": q["requested"],
        "quantity_approved": q["approved"], "quantity_shorted": q["shorted"], "quantity_settled": q["settled"],
        "loan_fee": q["fee"]})  # fmt: skip
    t, s, k, quantity, fee = (np.concatenate(part) for part in zip(
        *[(np.full(len(s), t), s, k, quantity, fee) for t, s, k, quantity, fee in inventory], strict=True))  # fmt: skip
    supply = pd.DataFrame({"trade_date": dates[t], "security_id": security[s], "pool_id": pool[k],
                           "quantity_available": quantity, "borrow_fee": fee})  # fmt: skip
    owed = pd.DataFrame({
        "trade_date": dates[np.repeat([t for t, _ in debits], len(lanes["margin"]))],
        "client_id": np.tile(client[lanes["margin"]], len(debits)),
        "net_debit": np.concatenate([debit for _, debit in debits])})  # fmt: skip
    positions = pd.concat([_longs(dates, security, client, lanes, longs), _shorts(dates, security, client, e)])
    return {"debits": owed, "inventory": supply, "positions": positions, "loans": loans, "locates": requests}


def _longs(dates, security, client, lanes, longs):
    """Margin longs of the clients behind the pools; the fully paid shares are the last of these clients'."""
    margin = lanes["margin"]
    columns = [(1 + i, client[a], "margin") for i, a in enumerate(margin)] + [
        (1 + len(margin), client[margin[-1]], "cash")
    ]
    parts = []
    for t, supply in longs:
        for k, name, account in columns:
            (s,) = np.nonzero(lanes["held"][:, k])
            parts.append(pd.DataFrame({"trade_date": dates[t], "client_id": name, "security_id": security[s],
                                       "account": account, "side": "long", "quantity": supply[s, k]}))  # fmt: skip
    return pd.concat(parts)


def _shorts(dates, security, client, e):
    """Short positions from the events: a row on each day on which the client's short in the name changes."""
    moves = pd.DataFrame({name: e[name] for name in ("t", "client", "security", "short")})
    moves = moves[moves["short"] != 0].groupby(["client", "security", "t"], as_index=False)["short"].sum()
    moves["short"] = moves.groupby(["client", "security"])["short"].cumsum()
    client, security = client[moves["client"]], security[moves["security"]]
    return pd.DataFrame({
        "trade_date": dates[moves["t"]], "client_id": client, "security_id": security, "account": "margin",
        "side": "short", "quantity": moves["short"].to_numpy()})  # fmt: skip
