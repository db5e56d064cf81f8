"""`mmlib backtest`: models side by side, on a recorded order book or, without one, in the model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mmlib.cli import files, models
from mmlib.cli.ending import by_signal, computing, refuse, unbroken
from mmlib.cli.simulate import Pairs, Paths, Plot, Seed, picture

Lobster = Annotated[
    tuple[str, str] | None,
    typer.Option(metavar="MSG BOOK", help="A pair of LOBSTER's files (of one zip: give it twice)."),
]
Binance = Annotated[
    str | None, typer.Option(metavar="PATH", help="A capture of Binance's streams, or a folder of them.")
]
Symbol = Annotated[str, typer.Option(help="Of the one file of the folder whose name has it.")]
Step = Annotated[float | None, typer.Option(help="Step of prices; by default the largest that fits.")]
Lot = Annotated[float | None, typer.Option(help="Step of sizes; by default the largest that fits.")]
Latency = Annotated[float, typer.Option(min=0, help="Of data, requests and responses each, ms.")]
Queue = Annotated[str, typer.Option(help="Place in the queue: back, power, front; orders with LOBSTER.")]
Fee = Annotated[float, typer.Option(help="Of a maker, bp of the value; negative for a rebate.")]


def backtest(
    context: typer.Context,
    model: Annotated[list[str], typer.Argument(metavar="MODEL...", help=models.LISTED)],
    parameter: Pairs = None,
    lobster: Lobster = None,
    binance: Binance = None,
    symbol: Symbol = "",
    tick: Step = None,
    lot: Lot = None,
    latency: Latency = 1.0,
    queue: Queue = "back",
    fee: Fee = 0.0,
    taker_fee: Annotated[float, typer.Option(help="Of a taker, bp of the value.")] = 0.0,
    paths: Paths = 100_000,
    seed: Seed = 42,
    plot: Plot = None,
) -> None:
    """Compare models: profit, Sharpe ratio, drawdown, trades, what the profit is made of, inventory; a row a model.

    On data sigma, A and k are calibrated to the same data and each order is of the median size of a trade, unless -p
    gives sigma, A, k or size; gamma is per price and order, time is in seconds, the horizon is all of the data.
    Without data the models are simulated in one market, on the same random numbers.

    \b
    mmlib backtest glft constant_spread -p gamma 0.2 --plot league.png
    mmlib backtest glft --binance FOLDER --symbol btcusdt --latency 5 --queue power --fee -0.5
    """
    data = lobster is not None or binance is not None
    given = models.checked(model, parameter or [], {"size": 0.0} if data else {})
    refuse_mixtures(context, lobster, binance, symbol)
    if data and (unknown := [name for name in ("mu", "impact", "fee") if name in given]):
        refuse(f"{unknown[0]} is a parameter of the model market; fees on data are --fee and --taker-fee")
    found_at = capture(binance, symbol)
    target = plot and picture(plot)
    with by_signal():
        with computing():
            from mmlib.cli import league

            if data:
                rules = league.rules(tick, lot, latency, queue, fee, taker_fee)
                found = league.on_data(model, given, lobster, found_at, rules)
            else:
                found = league.in_the_model(model, given, paths, seed)
        if target:
            from mmlib.cli.figure import drawn

            drawing = drawn(found)
    try:  # each is tried, though the other fail: a full disk, a reader of the table that has gone
        if target:
            with unbroken():
                files.save({target: drawing})
    finally:
        typer.echo(f"{found.title}\n{found.table.to_string()}")
    if target:
        typer.echo(f"written: {plot}")


def refuse_mixtures(context: typer.Context, lobster: tuple[str, str] | None, binance: str | None, symbol: str) -> None:
    """Refuse two sources of data, options of data without any, and files that are not there."""
    if lobster is not None and binance is not None:
        refuse("give one of --lobster and --binance")
    if symbol and (binance is None or not Path(binance).is_dir()):
        refuse("--symbol chooses a file of the folder that --binance names")
    for name in ("tick", "lot", "latency", "queue", "fee", "taker_fee"):
        source = context.get_parameter_source(name)
        if lobster is binance is None and source is not None and source.name == "COMMANDLINE":
            refuse(f"--{name.replace('_', '-')} is for data: give --lobster or --binance")
    for path in lobster or ():
        if not Path(path).is_file():
            refuse(f"no file at {path}")


def capture(path: str | None, symbol: str) -> Any:
    """The capture that `path` is, or that is alone in having the symbol in its name."""
    if path is None or Path(path).is_file():
        return path
    if not Path(path).is_dir():
        refuse(f"no file or folder at {path}")
    ends = (".gz", ".txt", ".json", ".jsonl")
    found = sorted(f.name for f in Path(path).iterdir() if f.name.endswith(ends) and symbol.lower() in f.name.lower())
    if len(found) != 1:
        of = f"one capture ({', '.join(ends)}) of symbol {symbol!r}"
        refuse(f"{path} must have {of}; it has {len(found)}{': ' if found else ''}{', '.join(found[:5])}")
    return Path(path, found[0])
