"""Columns, types, units, ranges and keys of the desk's tables, as pandera columns. What they mean: `tables`."""

import numpy as np

try:
    import pandera.pandas as pa
except ImportError as error:  # pragma: no cover
    raise ImportError("the stock-loan tables need pandera: pip install 'mmlib[loan]'") from error

BUCKETS = ("GC", "warm", "special", "unknown")
POOL_TYPES = (
    "internal",
    "rehypothecation",
    "fully paid",
    "exclusive",
    "agent lender",
    "street",
    "unknown",
)  # merit order
CLIENT_TYPES = ("hedge fund", "market maker", "broker", "unknown")
EVENTS = ("opening", "new", "re-rate", "recall", "partial return", "buy-in", "return")  # order within a day
MAX_FEE = 200_000  # bp a year; published lists of shortable stocks reach 100,000


def _text(meaning, options=None):
    rules = [pa.Check.isin(options, error=f"must be one of {', '.join(options)}")] if options else []
    return pa.Column("str", rules, description=meaning)


def _name(meaning):
    return pa.Column("str", pa.Check(lambda s: s != "", error="must not be empty"), description=meaning)


def _number(meaning, low, high=None, decimals=None, dtype="float64", nullable=False):
    def within(s):
        return (s >= low) & (s < np.inf if high is None else s <= high)

    def on_grid(s):
        return (s * 10**decimals - (s * 10**decimals).round()).abs() <= 1e-4

    rule = f"must be >= {low:g}" + ("" if high is None else f" and <= {high:g}") + f" ({meaning})"
    rules = [pa.Check(within, error=rule)]
    if decimals is not None:
        rules.append(pa.Check(on_grid, error=f"must have at most {decimals} decimals ({meaning})"))
    return pa.Column(dtype, rules, nullable=nullable, description=meaning)


def _shares(meaning, least=0):
    return _number(f"{meaning}, shares", least, dtype="int64")


def _fee(meaning, nullable=False):
    return _number(f"{meaning}, bp a year", 0, MAX_FEE, decimals=2, nullable=nullable)


def _rate(meaning, low=-1_000):
    return _number(f"{meaning}, bp a year", low, 20_000, decimals=2, nullable=True)


_DATE = pa.Column(
    "datetime64[us]",
    pa.Check(lambda s: s == s.dt.normalize(), error="must be a date without a time of day"),
    description="trade date",
)
_SECURITY, _CLIENT, _POOL = _name("security"), _name("client"), _name("pool of supply")

#: Per table: its columns in order, and the columns that identify a row.
COLUMNS = {
    "securities": {
        "security_id": _SECURITY,
        "symbol": _name("ticker"),
        "sector": _name("sector"),
        "bucket": _text("how hard it is to borrow", BUCKETS),
        "round_lot": _shares("round lot", 1),
        "average_daily_volume": _shares("average volume a day"),
    },
    "closes": {
        "trade_date": _DATE,
        "security_id": _SECURITY,
        "close": _number("unadjusted closing price, dollars", 0.0001, 1e7, decimals=4),
        "indicative_fee": _fee("the market's fee for a new loan; empty = not known", nullable=True),
    },
    "rates": {
        "trade_date": _DATE,
        "benchmark_rate": _rate("overnight benchmark; empty = not known"),
        "funding_rate": _rate("the desk's cost of funding; empty = not known"),
    },
    "clients": {
        "client_id": _CLIENT,
        "client_type": _text("kind of client", CLIENT_TYPES),
        "markup": _fee("client's fee over the indicative fee"),
        "credit_limit": _number("most that may be lent to the client, dollars; empty = no limit", 0, nullable=True),
        "risk_weight": _number("capital risk weight, 1 = 100 %; empty = not known", 0, 12.5, nullable=True),
    },
    "debits": {
        "trade_date": _DATE,
        "client_id": _CLIENT,
        "net_debit": _number("what the margin client owes, dollars", 0),
    },
    "pools": {
        "pool_id": _POOL,
        "pool_type": _text("kind of supply", POOL_TYPES),
        "merit": _number("place in the merit order, 1 = first", 1, dtype="int64"),
        "client_id": _text("margin client whose longs these are; empty = not one client's"),
        "concentration_limit": _number("largest share of one security's loans from this pool", 0.0001, 1),
    },
    "eligibility": {"pool_id": _POOL, "client_id": _CLIENT},
    "inventory": {
        "trade_date": _DATE,
        "security_id": _SECURITY,
        "pool_id": _POOL,
        "quantity_available": _shares("available, not on loan"),
        "borrow_fee": _fee("what the pool charges for a new loan; empty = not known", nullable=True),
    },
    "positions": {
        "trade_date": _DATE,
        "client_id": _CLIENT,
        "security_id": _SECURITY,
        "account": _text("account", ("margin", "cash")),
        "side": _text("side", ("long", "short")),
        "quantity": _shares("position"),
    },
    "loans": {
        "trade_date": _DATE,
        "loan_id": _name("loan"),
        "event": _text("event", EVENTS),
        "security_id": _SECURITY,
        "client_id": _CLIENT,
        "pool_id": _POOL,
        "quantity": _shares("moved, or recalled"),
        "loan_fee": _fee("fee the client pays"),
        "borrow_fee": _fee("fee the pool is paid"),
        "rebate_rate": _rate("benchmark less fee; empty = no cash collateral", -MAX_FEE),
    },
    "locates": {
        "trade_date": _DATE,
        "locate_id": _name("locate"),
        "client_id": _CLIENT,
        "security_id": _SECURITY,
        "quantity_requested": _shares("requested", 1),
        "quantity_approved": _shares("approved"),
        "quantity_shorted": _shares("sold short"),
        "quantity_settled": _shares("borrowed to settle"),
        "loan_fee": _fee("fee quoted"),
    },
}
KEYS = {
    "securities": ["security_id"],
    "closes": ["trade_date", "security_id"],
    "rates": ["trade_date"],
    "clients": ["client_id"],
    "debits": ["trade_date", "client_id"],
    "pools": ["pool_id"],
    "eligibility": ["pool_id", "client_id"],
    "inventory": ["trade_date", "security_id", "pool_id"],
    "positions": ["trade_date", "client_id", "security_id", "account", "side"],
    "loans": ["trade_date", "loan_id", "event"],
    "locates": ["trade_date", "locate_id"],
}
