"""The LSTM: its numbers in numpy are torch's, it learns what can be learned; and the shipped rolling numbers."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

from mmlib.stock_loan import forecasting, histories, lstm


def deep(test):
    """Run by `make deep`, and there only with torch."""
    absent = importlib.util.find_spec("torch") is None
    test = pytest.mark.filterwarnings("ignore")(test)  # of torch's own imports
    return pytest.mark.deep(pytest.mark.skipif(absent, reason="torch is not installed (extra deep)")(test))


def wave(days=300, seed=0):
    """A value that is +1 after −1 and −1 after +1, with a little noise."""
    rng = np.random.default_rng(seed)
    return pd.Series(
        10 + (-1.0) ** np.arange(days) + 0.1 * rng.standard_normal(days), pd.bdate_range("2022-01-03", periods=days)
    )


@deep
def test_the_cell_written_in_numpy_is_that_of_torch():
    """torch's own LSTM with the same weights on the same window."""
    import torch

    network = lstm.train([wave()], window=10, hidden=4, epochs=1)
    layer = torch.nn.LSTM(6, 4, batch_first=True)
    layer.load_state_dict({k[5:]: torch.tensor(v).float() for k, v in network.weights.items() if k.startswith("lstm.")})
    values = wave().to_numpy()[:10]
    scaled = (values - values.mean()) / values.std()
    x = np.concatenate([scaled[:, None], np.tile(np.eye(5)[2], (10, 1))], axis=1)
    out = layer(torch.tensor(x[None]).float())[0][0, -1].detach().numpy() @ network.weights["head.weight"].T
    out = out + network.weights["head.bias"]
    expected = values.mean() + values.std() * (out[0] + np.cumsum([0, *np.log1p(np.exp(out[1:]))]))
    assert network.quantiles(values, 2, lstm.LEVELS) == pytest.approx(expected, rel=1e-5)


@deep
def test_it_learns_an_alternation_and_its_quantiles_do_not_cross():
    network = lstm.train([wave()], window=10, epochs=60)
    fresh = wave(seed=1)
    table = forecasting.evaluate(fresh, {"lstm": network.forecaster}, first=250, levels=[0.05, 0.25, 0.5, 0.75, 0.95])
    assert table.loc["lstm", "mase"] < 0.2  # the last value is wrong by 2 every day; the noise alone is .04 of that
    assert 0.6 <= table.loc["lstm", "coverage"] <= 1
    found = network.forecaster(fresh).quantiles(3, [0.01, 0.2, 0.5, 0.9, 0.99])
    assert found.shape == (3, 5) and (np.diff(found, axis=1) >= 0).all()


@deep
def test_the_same_seed_is_the_same_network_and_fit_keeps_it():
    one, two = (lstm.train([wave()], window=10, epochs=1, seed=4) for _ in range(2))
    assert all((one.weights[name] == two.weights[name]).all() for name in one.weights)
    model = forecasting.fit("lstm", wave(), window=10, epochs=1)
    kept = model._kept[0]
    model.update(9.0)
    model.quantiles(1, [0.5])
    assert model._kept[0] is kept


@deep
def test_three_shipped_origins_of_the_lstm_are_what_it_gives():
    """To the two digits that hold from one processor to another."""
    table = pd.read_csv(histories.SAMPLE / "rolling.csv")
    logs = np.log(histories.balance())
    network = lstm.train([logs.iloc[: table["origin"].min()]], seed=0)
    for row in table[table["model"] == "lstm"].iloc[[0, 6, 12]].itertuples(index=False):
        found = np.exp(network.forecaster(logs.iloc[: row.origin]).quantiles(1, [0.05, 0.5, 0.95])[0])
        assert found == pytest.approx(row[2:], rel=2e-2)


@pytest.mark.filterwarnings("ignore")
def test_three_shipped_origins_of_prophet_are_what_it_gives():
    """To four of the five digits that are shipped; by Newton, so on any processor."""
    table = pd.read_csv(histories.SAMPLE / "rolling.csv")
    rows = table[table["model"] == "prophet"].iloc[[0, 6, 12]]
    history = histories.balance()
    for row in rows.itertuples(index=False):
        model = forecasting.fit("prophet", history.iloc[: row.origin], transform="log")
        assert model.quantiles(1, [0.05, 0.5, 0.95])[0] == pytest.approx(row[2:], rel=2e-4)
