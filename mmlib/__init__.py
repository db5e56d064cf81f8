"""mmlib: the library behind an executable book on inventory in trading.

Two halves share one idea, that inventory is a position one is paid to hold and punished for holding:
`mmlib.market_making` sets quotes to steer it, `mmlib.stock_loan` allocates it.
"""

__version__ = "0.1.0"
