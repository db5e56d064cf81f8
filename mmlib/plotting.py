"""One figure style for the book: colour-blind safe, readable at phone width, labelled axes."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib import rcsetup
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from mmlib.checks import nonnegative

#: Okabe & Ito (2008), distinguishable with any common colour blindness and in grey by the order of lightness.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
#: The colours of the two sides of a quote, the same in every figure of the book.
BID, ASK = COLOURS[0], COLOURS[1]


def style() -> None:
    """Set matplotlib's defaults to the book's style, for the rest of the session."""
    mpl.rcParams.update(
        {
            "axes.grid": True,
            "axes.labelsize": 12,
            "axes.prop_cycle": rcsetup.cycler(color=COLOURS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "figure.constrained_layout.use": True,
            "figure.dpi": 144,
            "figure.figsize": (7, 3.2),
            "font.size": 12,
            "grid.alpha": 0.3,
            "legend.fontsize": 12,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "savefig.dpi": 144,
            "xtick.labelsize": 12,
            "ytick.labelsize": 12,
        }
    )


def flow(ax: Axes, amounts: ArrayLike, left: Sequence[str], right: Sequence[str]) -> None:
    """Draw amounts flowing from the names on the left to those on the right, as bands of that width.

    Parameters
    ----------
    ax : matplotlib Axes
    amounts : array_like, shape (n, m)
        >= 0; from left name i to right name j.
    left, right : sequence of str, lengths n and m
        Drawn from the top down, with their totals; names of less than a hundredth of all are not written.
    """
    width = np.asarray(nonnegative("amounts", amounts, array=True))
    gap = 0.05 * width.sum()
    tops = [np.append(0.0, np.cumsum(totals + gap)) for totals in (width.sum(1), width.sum(0))]
    along = np.linspace(0, 1, 60)
    bend = (1 - np.cos(np.pi * along)) / 2
    for i, j in np.argwhere(width > 0):
        start, stop = tops[0][i] + width[i, :j].sum(), tops[1][j] + width[:i, j].sum()
        low = start + (stop - start) * bend
        ax.fill_between(along, low, low + width[i, j], color=COLOURS[i % 6], alpha=0.6, linewidth=0)
    for x, names, totals, top, side in (
        (-0.02, left, width.sum(1), tops[0], "right"),
        (1.02, right, width.sum(0), tops[1], "left"),
    ):
        for name, total, start in zip(names, totals, top[:-1], strict=True):
            if total >= 0.01 * width.sum():
                ax.text(x, start + total / 2, f"{name}  {total:.0f}", ha=side, va="center", fontsize=11)
    ax.set(xlim=(-0.25, 1.25), xticks=[], yticks=[])
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
