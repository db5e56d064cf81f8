"""One figure style for the book: colour-blind safe, readable at phone width, labelled axes."""

import matplotlib as mpl
from matplotlib import rcsetup

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
