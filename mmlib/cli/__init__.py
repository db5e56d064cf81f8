"""The command line: run a chapter of the book with parameters of your own; make a desk's morning report; judge a
market maker's model by simulation and on recorded order books; train an agent and judge it exactly.

    mmlib chapters
    mmlib run glft -p gamma 0.5 -p max_inventory 20 -o wide.ipynb --html
    mmlib sweep glft -p gamma 0.05:0.5:10 -p sigma 1,2,3 -o glft.parquet --plot glft.png
    mmlib desk FOLDER --date 2025-10-02 -o report
    mmlib simulate hjb --seed 42
    mmlib backtest glft constant_spread --lobster MESSAGE.csv ORDERBOOK.csv
    mmlib train environment --algorithm gradient -o policy.npz
    mmlib fetch finra-short-volume -p date 2021-04-27 -o data
    mmlib store gaps FOLDER
    mmlib store end-of-day FOLDER 2026-01-02

Exit codes: 0 done; 1 the chapter refused a value or failed, or its output cannot be written; 2 the command was wrong;
128 + number ended by that signal (130 for Ctrl-C).
"""

try:
    from mmlib.cli import backtest, desk, ending, fetch, notebooks, run, simulate, store, sweep, train

    app = ending.App(
        cls=ending.Group,
        help="Run the chapters of the book with parameters of your own.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(ending.listening)
    app.command()(notebooks.chapters)
    app.command(cls=run.Command)(run.run)
    app.command(cls=run.Command)(sweep.sweep)
    app.command()(desk.desk)
    app.command(cls=run.Command)(simulate.simulate)
    app.command(cls=run.Command)(backtest.backtest)
    app.command(cls=run.Command)(train.train)
    app.command(cls=run.Command)(fetch.fetch)
    app.add_typer(store.app, name="store")
except KeyboardInterrupt:  # Ctrl-C before there is a command to end
    raise SystemExit(130) from None
