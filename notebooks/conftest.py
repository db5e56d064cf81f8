"""nbval compares the texts of outputs; here it compares the figures too, in the same run, by `_pixels`."""

from nbval.plugin import IPyNbCell

import _pixels

compare_texts = IPyNbCell.compare_outputs


def compare_outputs(cell, test, ref, skip_compare=None):
    """Whether the outputs `test` are the committed `ref`; what differs goes to the report."""
    if not compare_texts(cell, test, ref, skip_compare):
        return False
    new, committed = figures(test), figures(ref)
    if len(new) != len(committed):
        cell.comparison_traceback.append(
            f"{len(new)} figures, {len(committed)} committed"
        )
        return False
    for number, (one, other) in enumerate(zip(new, committed, strict=True), start=1):
        if difference := _pixels.difference(one, other):
            cell.comparison_traceback.append(
                f"figure {number} is not the committed one: {difference}"
            )
            return False
    return True


def figures(outputs):
    """The PNG images of a cell's outputs, as base64 text."""
    return [
        output["data"]["image/png"]
        for output in outputs
        if "image/png" in output.get("data", {})
    ]


IPyNbCell.compare_outputs = compare_outputs
