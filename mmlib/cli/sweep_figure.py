"""What `sweep` draws: each result over one swept parameter, as a line; over two that are crossed, as a map."""

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pandas import DataFrame


def numbers(table: "DataFrame", swept: list[str]) -> list[str]:
    """Names of the results that are numbers."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    columns = {str(name): table[name] for name in table.columns[len(swept) : -1]}
    return [n for n, c in columns.items() if is_numeric_dtype(c) and not is_bool_dtype(c) and c.notna().any()]


@np.errstate(all="ignore")  # results may be infinite
def drawn(table: "DataFrame", swept: list[str]) -> bytes:
    """A PNG picture of the results over the one or two parameters `swept`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from mmlib import plotting

    plotting.style()
    results = numbers(table, swept)
    wide = min(3, max(1, len(results)))
    tall = -(-max(1, len(results)) // wide)
    figure = Figure(figsize=(4.5 * wide, 3.4 * tall))
    FigureCanvasAgg(figure)
    axes = figure.subplots(tall, wide, squeeze=False).ravel()
    places = [Axis(table[name]) for name in swept]
    crossed = len(swept) == 2 and len(table) == places[0].count * places[1].count
    for ax, name in zip(axes, results, strict=False):
        values = table[name].to_numpy(float, na_value=np.nan)
        if crossed:
            _map(figure, ax, values, *places)
        else:
            _line(ax, values, places[0])
        ax.set_title(name, fontsize=12)
    for ax in axes[len(results) :]:
        ax.axis("off")
    if not results:
        axes[0].text(0.5, 0.5, "no run has a result that is a number", ha="center")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100, metadata={"Software": None})
    return out.getvalue()


def _map(figure, ax, values, down, across):
    """A cell a run; what failed is left white."""
    cells = np.full((down.count, across.count), np.nan)
    cells[down.index, across.index] = values
    figure.colorbar(ax.pcolormesh(cells, cmap="cividis"), ax=ax)
    ax.grid(visible=False)
    down.label(ax.yaxis, np.arange(down.count) + 0.5)
    across.label(ax.xaxis, np.arange(across.count) + 0.5)


def _line(ax, values, along):
    order = np.argsort(along.index, kind="stable")
    ax.plot(along.where[along.index][order], values[order], marker="o", markersize=4)
    if along.logarithmic:
        ax.set_xscale("log")
    ax.minorticks_off()
    along.label(ax.xaxis, along.where)


class Axis:
    """The values of a swept parameter: numbers in their order, other values in that of the grid."""

    def __init__(self, column):
        from mmlib.chapter import shown

        self.name = column.name
        if column.dtype.kind in "if":
            self.where, self.index = np.unique(column.to_numpy(float), return_inverse=True)
            self.names = [shown(value) for value in self.where.tolist()]
        else:
            texts = [str(value) for value in column]
            self.names = list(dict.fromkeys(texts))
            self.where = np.arange(len(self.names), dtype=float)
            self.index = np.array([self.names.index(text) for text in texts])
        self.count = len(self.where)
        positive = column.dtype.kind in "if" and self.where[0] > 0
        ratios = self.where[1:] / self.where[:-1] if positive else np.array([])
        self.logarithmic = len(ratios) > 1 and np.ptp(ratios) < 1e-9 * ratios[0]

    def label(self, axis, positions):
        """The parameter's name, and at most six of its values as ticks."""
        ticks = np.unique(np.linspace(0, self.count - 1, min(self.count, 6)).round().astype(int))
        axis.set_label_text(self.name)
        axis.set_ticks(positions[ticks], [self.names[i] for i in ticks])
