"""Pictures a desk looks at."""

import numpy as np

from mmlib.checks import nonnegative
from mmlib.plotting import COLOURS


def flow(ax, amounts, left, right):
    """Draw amounts flowing from the names on the left to those on the right, as bands of that width.

    Parameters
    ----------
    ax : matplotlib Axes
    amounts : array_like, shape (n, m)
        >= 0; from left name i to right name j.
    left, right : sequence of str, lengths n and m
        Drawn from the top down, with their totals; names of less than a hundredth of all are not written.
    """
    amounts = nonnegative("amounts", amounts, array=True)
    gap = 0.05 * amounts.sum()
    tops = [np.append(0.0, np.cumsum(totals + gap)) for totals in (amounts.sum(1), amounts.sum(0))]
    along = np.linspace(0, 1, 60)
    bend = (1 - np.cos(np.pi * along)) / 2
    for i, j in np.argwhere(amounts > 0):
        start, stop = tops[0][i] + amounts[i, :j].sum(), tops[1][j] + amounts[:i, j].sum()
        low = start + (stop - start) * bend
        ax.fill_between(along, low, low + amounts[i, j], color=COLOURS[i % 6], alpha=0.6, linewidth=0)
    for x, names, totals, top, side in (
        (-0.02, left, amounts.sum(1), tops[0], "right"),
        (1.02, right, amounts.sum(0), tops[1], "left"),
    ):
        for name, total, start in zip(names, totals, top[:-1], strict=True):
            if total >= 0.01 * amounts.sum():
                ax.text(x, start + total / 2, f"{name}  {total:.0f}", ha=side, va="center", fontsize=11)
    ax.set(xlim=(-0.25, 1.25), xticks=[], yticks=[])
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
