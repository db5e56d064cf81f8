"""Real order books: load them, calibrate a market to them, replay quotes against them with queue and latency.

    >>> from mmlib.order_book import calibrate, lobster
    >>> events = lobster.read("…_message_5.csv", "…_orderbook_5.csv")      # doctest: +SKIP
    >>> calibrate.market(events)                                           # doctest: +SKIP

Every source gives the same table of events, the columns of `events`.
"""
