"""`mmlib simulate`: a model's quotes in the model market, exactly and by simulation."""

from pathlib import Path
from typing import Annotated

import typer

from mmlib.cli import files, models
from mmlib.cli.ending import by_signal, computing, refuse, unbroken

MOST_PATHS = 10_000_000
LEVEL = 0.95

Pairs = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="NAME VALUE", help="Set a parameter; may be repeated."),
]
Paths = Annotated[int, typer.Option(min=2, max=MOST_PATHS, help="Simulated paths.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same numbers.")]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="F.png", help="Also draw it, as a picture of this name.")]


def simulate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=models.LISTED)],
    parameter: Pairs = None,
    paths: Paths = 100_000,
    seed: Seed = 42,
    plot: Plot = None,
) -> None:
    """Judge a model's quotes exactly and by simulation: profit, its risk, its parts, what it is worth.

    Without parameters the market is Avellaneda and Stoikov's: sigma 2, A 140, k 1.5, gamma 0.1, horizon 1.
    Certainty equivalents are those of gamma; VaR and CVaR are at 95 %, losses positive. Fills are Poisson, the mid is
    a Brownian motion.

    \b
    mmlib simulate glft -p gamma 0.2 --seed 42 --plot glft.png
    """
    given = models.checked([model], parameter or [], {})
    target = plot and picture(plot)
    with by_signal():
        with computing():
            from mmlib.cli import league
            from mmlib.market_making import simulate

            market = league.market_of(given, paths)
            quotes = models.quotes(model, market, given)
            gamma = given.get("gamma", models.COMMON["gamma"])
            exact = _exact(market, quotes, gamma)
            found = simulate.run(market, quotes, paths, seed, "continuous", sample_paths=1)
            table = _table(exact, _simulated(found, gamma))
        if target:
            from mmlib.cli.figure import drawn

            path = league.of_sample(found)
            drawing = drawn(league.League("", table, {model: path}, {model: found.profit}, "time", "profit of a path"))
    try:  # each is tried, though the other fail: a full disk, a reader of the table that has gone
        if target:
            with unbroken():
                files.save({target: drawing})
    finally:
        typer.echo(table.to_string())
    if target:
        typer.echo(f"written: {plot}")


def picture(plot: Path) -> Path:
    """The file to draw into; refused if it is no .png or cannot be written."""
    if plot.suffix.lower() != ".png":
        refuse(f"--plot must name a file that ends in .png; got {str(plot)!r}")
    return files.target(plot)


def _exact(market, quotes, gamma):
    from mmlib.market_making import evaluate

    m = evaluate.moments(market, quotes, "continuous")
    law = evaluate.profit_law(market, quotes) if market.sigma > 0 else None  # without it the law has no density
    return {
        "mean": m.mean, "std": m.std, "Sharpe": m.mean / m.std if m.std > 0 else float("nan"),
        "VaR": law.var(LEVEL) if law else float("nan"), "CVaR": law.cvar(LEVEL) if law else float("nan"),
        "spread": m.spread, "revaluation": m.revaluation, "tolls": m.tolls, "inventory mean": m.inventory_mean,
        "inventory std": m.inventory_std,
        "certainty equivalent": evaluate.certainty_equivalent(market, quotes, gamma),
    }  # fmt: skip


def _simulated(found, gamma):
    """Estimates and standard errors by name; that of the certainty equivalent by the delta method."""
    import numpy as np

    rows = {name: (value, error) for name, value, error in found.summary(LEVEL).itertuples(name=None)}
    if gamma == 0:
        return rows | {"certainty equivalent": rows["mean"]}
    lowest = found.profit.min()
    loss = np.exp(-gamma * (found.profit - lowest))
    error = loss.std(ddof=1) / loss.mean() / gamma / np.sqrt(len(loss))
    return rows | {"certainty equivalent": (lowest - np.log(loss.mean()) / gamma, error)}


def _table(exact, simulated):
    from mmlib.chapter import shown, table
    from mmlib.cli.league import estimate

    names = list(dict.fromkeys([*exact, *simulated]))
    return table(
        {
            "": names,
            "exact": [shown(round(exact[name], 9)) if name in exact else "" for name in names],
            "simulated": [estimate(*simulated[name]) for name in names],
        }
    )
