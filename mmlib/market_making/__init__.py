"""Market making: models make quotes, markets run them, evaluators judge them.

    >>> from mmlib.market_making import Market, glft, evaluate
    >>> market = Market(sigma=2.0, A=140.0, k=1.5)
    >>> quotes = glft.quotes(market, gamma=0.1, horizon=1.0, max_inventory=30, steps=200)
    >>> round(evaluate.certainty_equivalent(market, quotes, gamma=0.1), 2)
    64.13

Every model, however it was solved, ends in `Quotes`: a table of bid and ask distances over time and inventory. So any
model can be judged exactly (`evaluate`) and by simulation (`simulate`) against any other.
"""

from mmlib.market_making.market import Market, TwoSidedMarket
from mmlib.market_making.quotes import Quotes

__all__ = ["Market", "Quotes", "TwoSidedMarket"]
