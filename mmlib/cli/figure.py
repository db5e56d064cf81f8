"""What `simulate` and `backtest` draw: price, inventory and profit over time, the law of profits, the table."""

import io
from typing import Any

import numpy as np

from mmlib.cli.league import League


def drawn(league: League) -> bytes:
    """A PNG picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from mmlib import plotting

    plotting.style()
    table, time = league.table, league.time
    figure = Figure(figsize=(10, 9.5 + 0.26 * len(table)))
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic([["mid", "inventory"], ["profit", "law"], ["table", "table"]],
                                 height_ratios=[4, 4, 1.2 + 0.3 * len(table)])  # fmt: skip
    first = next(iter(league.paths.values()))
    axes["mid"].plot(first.time, first.mid, color="black", linewidth=1)
    axes["mid"].set(xlabel=time, ylabel="mid, currency")
    for n, (name, path) in enumerate(league.paths.items()):
        look: dict[str, Any] = {"color": plotting.COLOURS[n % 7], "linewidth": 1.2}
        look["linestyle"] = ("-", "--", ":")[n // 7 % 3]
        axes["inventory"].step(path.time, path.inventory, where="post", label=name, **look)
        axes["profit"].plot(path.time, path.profit, label=name, **look)
        found = np.sort(league.profits[name])
        axes["law"].plot(found, np.arange(1, len(found) + 1) / len(found), label=name, **look)
    axes["inventory"].set(xlabel=time, ylabel="inventory, orders")
    axes["profit"].set(xlabel=time, ylabel="profit, currency")
    axes["law"].set(xlabel=f"{league.profit}, currency", ylabel="share at or below")
    axes["law"].legend(fontsize=10)
    axes["table"].axis("off")
    cells = axes["table"].table(table.to_numpy().tolist(), rowLabels=list(table.index), colLabels=list(table.columns),
                                loc="center", edges="horizontal")  # fmt: skip
    cells.auto_set_font_size(False)
    cells.set_fontsize(9)
    for column in range(-1, len(table.columns)):
        cells.auto_set_column_width(column)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100, metadata={"Software": None})
    return out.getvalue()
