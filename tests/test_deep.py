"""Extras that do not go together with the lock, in the environment that `make .venv-deep/ok` makes for them."""

import subprocess
from pathlib import Path

import pytest

PYTHON = Path(__file__).parents[1] / ".venv-deep" / "bin" / "python"
pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment with torch: make .venv-deep/ok"),
]


def test_mmlib_and_torch_share_a_process():
    code = (
        "import torch, numpy as np\n"
        "from mmlib.market_making import Market, glft\n"
        "quotes = glft.quotes(Market(sigma=2.0, A=140.0, k=1.5), gamma=0.1, horizon=1.0, max_inventory=3, steps=5)\n"
        "print(bool((torch.tensor(quotes.bid).numpy()[:, :-1] == quotes.bid[:, :-1]).all()))"
    )
    answer = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, timeout=300)
    assert (answer.returncode, answer.stdout) == (0, "True\n"), answer.stderr
