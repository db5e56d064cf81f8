import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from mmlib import plotting


def test_every_band_of_a_flow_is_as_wide_as_its_amount():
    """Read back from the drawn polygons: the widths are the amounts, and no ends overlap."""
    mpl.use("Agg")
    amounts = np.array([[3.0, 0.0, 1.0], [2.0, 5.0, 0.0]])
    ax = Figure().subplots()
    plotting.flow(ax, amounts, ["a", "b"], ["x", "y", "z"])
    widths, ends = [], {0.0: [], 1.0: []}
    for band in ax.collections:
        (path,) = band.get_paths()
        for x, spans in ends.items():
            y = path.vertices[path.vertices[:, 0] == x, 1]
            spans.append((y.min(), y.max()))
        widths.append(np.ptp(y))
    assert widths == pytest.approx([3.0, 1.0, 2.0, 5.0])
    for spans in ends.values():
        flat = np.array(sorted(spans))
        assert np.all(flat[1:, 0] >= flat[:-1, 1] - 1e-12)


def test_a_negative_flow_is_refused():
    with pytest.raises(ValueError, match="amounts must be >= 0"):
        plotting.flow(Figure().subplots(), [[-1.0]], ["a"], ["b"])
