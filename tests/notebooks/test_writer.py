"""The writer refuses what another processor would print otherwise; the check of outputs sees figures."""

import base64
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import _old_processor
import _pixels
import _write
import nbformat
import numpy as np
import pytest
from PIL import Image

from mmlib import chapter

ROOT = Path(__file__).parents[2]
x86 = pytest.mark.skipif(
    _old_processor.platform.machine().lower() not in ("x86_64", "amd64"), reason="the instruction sets are x86-64's"
)

HEAD = "import os\nold = os.environ.get('NUMBA_CPU_NAME') == 'nehalem'"
DRAW = """\
import io
from IPython.display import Image, display
from PIL import Image as Picture
def draw(colour, dot=0):
    picture = Picture.new("RGB", (100, 100), "white")
    picture.paste(colour, (20, 20, 80, 80))
    picture.paste("black", (5, 5, 5 + dot, 5 + dot))
    file = io.BytesIO()
    picture.save(file, "png")
    display(Image(file.getvalue()))
"""


def notebook(path, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Tiny"), *cells]), path)
    return path


def python(code, **environment):
    answer = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


@x86
@pytest.mark.parametrize(
    ("last", "said"),
    [
        ("print('same')\nprint('-0.0' if old else '+0.0')", "cell-04, line 2 of its output:"),
        ("draw('blue')\ndraw('red' if old else 'blue')", "cell-04, figure: 36.00% of the pixels differ"),
        ("draw('blue') if old else print(1)", "cell-04: [('stream',)] here, [('display_data', "),
    ],
)
def test_outputs_that_differ_between_processors_are_not_written(tmp_path, last, said):
    path = notebook(tmp_path / "tiny.ipynb", HEAD, DRAW, last)
    before = path.read_bytes()
    with pytest.raises(SystemExit, match="not written") as refusal:
        _write.write(path)
    assert said in str(refusal.value)
    assert path.read_bytes() == before


@x86
def test_what_is_written_twice_is_the_same_and_stores_the_digits_that_agree(tmp_path):
    path = notebook(
        tmp_path / "tiny.ipynb",
        HEAD,
        DRAW,
        "draw('blue')",
        "from mmlib import chapter\nchapter.results(a=1.2345678 + 1e-6 * old, b=2.0, c=3, d='x')",
    )
    _write.write(path)
    first = path.read_bytes()
    _write.write(path)
    assert path.read_bytes() == first
    assert chapter.read_results(nbformat.read(path, as_version=4)) == {"a": 1.23457, "b": 2.0, "c": 3, "d": "x"}


@x86
def test_the_old_environment_turns_the_new_instructions_off():
    """Asked of the libraries: NumPy's list, OpenBLAS's kernel, and the machine code that Numba makes."""
    old = _old_processor.environment()
    features = "from numpy._core._multiarray_umath import __cpu_features__ as f, __cpu_dispatch__ as d;"
    assert python(f"{features} print([k for k in d if f[k]])", **old) == "[]"
    blas = "import numpy, threadpoolctl; print({i['architecture'] for i in threadpoolctl.threadpool_info()})"
    assert python(blas, **old) == "{'Nehalem'}"
    code = (
        "import numba, re, numpy as np\n"
        "@numba.njit\n"
        "def f(a, b):\n"
        "    for i in range(a.size): a[i] += 3.0 * b[i]\n"
        "f(np.ones(9), np.ones(9))\n"
        "print(len(re.findall('[yz]mm', ''.join(f.inspect_asm().values()))))"
    )
    assert python(code, **old) == "0"


@x86
def test_the_old_environment_reaches_the_c_librarys_functions():
    """exp of many numbers by glibc with FMA and without: some last bits differ where the processor has FMA."""
    if " fma " not in Path("/proc/cpuinfo").read_text() or "glibc" not in os.confstr("CS_GNU_LIBC_VERSION"):
        pytest.skip("needs a processor with FMA, and glibc")
    code = (
        "import math, hashlib; print(hashlib.md5(str([math.exp(i / 7e3) for i in range(10**5)]).encode()).hexdigest())"
    )
    assert python(code) != python(code, **_old_processor.environment())


def png(array):
    file = io.BytesIO()
    Image.fromarray(array.astype(np.uint8)).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def test_figures_differ_from_a_lost_marker_on_and_not_by_their_palette():
    """A marker of 3 points at 144 dpi is 6 × 6 pixels of a figure's 1008 × 460."""
    rng = np.random.default_rng(1)
    figure = np.full((460, 1008, 3), 255)
    figure[100:103, 50:900] = (0, 114, 178)
    lost = figure.copy()
    lost[200:206, 200:206] = 0
    shifted = np.clip(figure + rng.integers(-30, 31, figure.shape), 0, 255)
    assert _pixels.difference(png(figure), png(shifted)) == ""
    assert "of the pixels differ" in _pixels.difference(png(figure), png(lost))
    assert _pixels.difference(png(figure), png(figure[:-1])) == "1008 × 460 pixels, not 1008 × 459"


def test_a_channel_may_differ_by_a_quarter_and_one_is_enough():
    """Both sides of the level of 64 of 255, up and down, in one channel of all pixels."""
    grey = np.full((50, 50, 3), 100)
    for channel in range(3):
        for change in (-65, 65):
            other = grey.copy()
            other[..., channel] += change
            assert _pixels.difference(png(grey), png(other)) == "100.00% of the pixels differ"
            other[..., channel] -= np.sign(change)
            assert _pixels.difference(png(grey), png(other)) == ""


def test_common_digits_are_the_most_that_agree_and_four_at_least():
    assert _write.common(1.23456789, 1.23456789) == 1.2345679
    assert _write.common(1.23412, 1.23438) == 1.234
    assert _write.common(1.23411, 1.33411) == 1.234


def test_a_line_more_on_one_processor_is_a_difference():
    """The same beginning, and a line that only one of the two has."""

    def printed(text):
        cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("stream", text=text)], id="cell-01")
        return nbformat.v4.new_notebook(cells=[cell])

    for one, other in (("a\nb\n", "a\n"), ("a\n", "a\nb\n")):
        (said,) = _write.differences(printed(one), printed(other))
        assert said.startswith("cell-01, line 2 of its output:")
    assert _write.differences(printed("a\n"), printed("a\n")) == []


def checked(folder):
    """What strict nbval says of a folder's notebooks, with the project's own settings and its hook.

    Without the closing summary, which repeats each failure on continuous integration and not elsewhere.
    """
    for name in ("conftest.py", "_pixels.py"):
        shutil.copy(ROOT / "notebooks" / name, folder)
    command = ["-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", folder, "--nbval", "--nbval-current-env"]
    return subprocess.run(
        [sys.executable, *command, "-rN", "-p", "no:cacheprovider", folder], cwd=folder, capture_output=True, text=True
    )


@x86
def test_a_swapped_figure_fails_the_check(tmp_path):
    path = notebook(tmp_path / "tiny.ipynb", HEAD, DRAW, "draw('blue')", "draw('red')")
    _write.write(path)
    assert checked(tmp_path).returncode == 0
    swapped = nbformat.read(path, as_version=4)
    one, other = swapped.cells[-2], swapped.cells[-1]
    one.outputs, other.outputs = other.outputs, one.outputs
    nbformat.write(swapped, path)
    outcome = checked(tmp_path)
    assert outcome.returncode == 1
    assert outcome.stdout.count("figure 1 is not the committed one: 36.00% of the pixels differ") == 2
