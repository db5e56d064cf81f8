"""Files of what was learned: the same again, and every file that is not one refused before anything is made of it."""

import io
import json
import math
import os
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from mmlib.learning import environment, ppo, saved
from mmlib.market_making import Market, Quotes, glft

AS = Market(2.0, 140.0, 1.5)
CHAIN = dict(horizon=0.02, steps=3, max_inventory=2)


def policy(**change):
    """A network 2-3-2 with weights that are all different."""
    env = environment.MarketMakingVectorEnv(2, AS, **CHAIN, phi=0.2, **change)
    weights = [np.arange(6.0).reshape(2, 3) / 7, np.arange(6.0).reshape(3, 2) / 9 - 0.2]
    biases, box = [np.array([0.1, -0.2, 0.3]), np.array([0.05, -0.1])], env.single_action_space
    about = {"environment": ppo.describe(env), "seed": 0}
    return ppo.Policy(weights, biases, box.low.astype(float), box.high.astype(float), about), env


def archive(path, arrays, about):
    """A file as `pack` writes it, from whatever arrays."""
    np.savez(path, about=np.array(json.dumps(about)), **arrays)
    return path


def parts():
    one, env = policy()
    names = {f"{kind}s_{n}".replace("biass", "biases") for kind in ("weight", "bias") for n in range(2)}
    arrays = dict(weights_0=one.weights[0], weights_1=one.weights[1], biases_0=one.biases[0], biases_1=one.biases[1])
    assert set(arrays) == names
    return arrays | {"low": one.low, "high": one.high}, {"kind": "policy"} | one.about, env


def test_a_policy_comes_back_bit_by_bit(tmp_path):
    one, env = policy()
    ppo.save(one, tmp_path / "policy.npz")
    other = ppo.load(tmp_path / "policy.npz", env)
    seen = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    assert np.array_equal(one(seen), other(seen)) and other.about == one.about
    ppo.save(other, tmp_path / "again.npz")
    assert (tmp_path / "policy.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()


def test_a_policy_is_its_layers_written_out():
    """tanh of sums with Python's floats, the output cut to ±1 and spread over the box 0 … 3/k."""
    one, _ = policy()
    for t, q in ((0.0, 0.0), (0.3, -1.0), (1.0, 40.0)):
        hidden = [math.tanh(t * one.weights[0][0, j] + q * one.weights[0][1, j] + one.biases[0][j]) for j in range(3)]
        for a in range(2):
            out = sum(hidden[j] * one.weights[1][j, a] for j in range(3)) + one.biases[1][a]
            expected = 2.0 * (min(max(out, -1), 1) + 1) / 2
            assert one(np.array([[t, q]]))[0, a] == pytest.approx(expected, abs=1e-12)


def test_quotes_come_back_bit_by_bit(tmp_path):
    quotes = replace(glft.quotes(AS, gamma=0.1, **CHAIN), size=100.0)
    saved.write(tmp_path / "quotes.npz", saved.pack_quotes(quotes, AS))
    other = saved.unpack_quotes(tmp_path / "quotes.npz", AS)
    for name in ("times", "inventory", "bid", "ask"):
        assert np.array_equal(getattr(quotes, name), getattr(other, name), equal_nan=True)
    assert (other.horizon, other.size) == (quotes.horizon, 100)
    with pytest.raises(ValueError, match=r"must be of this market, .*'k': 1.0.* it is of .*'k': 1.5"):
        saved.unpack_quotes(tmp_path / "quotes.npz", Market(2.0, 140.0, 1.0))


BAD_QUOTES = [
    (dict(bid=np.zeros((3, 4))), r"bid must have shape \(3, 5\); got \(3, 4\)"),
    (dict(ask=np.full((3, 5), np.inf)), "ask must be finite; got inf"),
    (dict(times=np.array([0.0, np.nan, 0.01])), "times must be finite; got nan"),
    (dict(ask=None), "must have the arrays ask, bid, inventory, times"),
    (dict(inventory=None), "must have the arrays"),
    (dict(bid=np.zeros((3, 5))), "bid must be NaN at inventory 2"),
    (dict(horizon=None), "horizon must be > 0"),
    (dict(size=-1.0), "size must be > 0"),
]


@pytest.mark.parametrize(("change", "message"), BAD_QUOTES)
def test_quotes_that_are_none_are_refused(tmp_path, change, message):
    quotes = glft.quotes(AS, gamma=0.1, **CHAIN)
    arrays = {name: getattr(quotes, name) for name in ("times", "inventory", "bid", "ask")}
    about = {"horizon": quotes.horizon, "size": 1.0, "market": None, "kind": "quotes"}
    path = archive(tmp_path / "quotes.npz", arrays, about)
    assert np.array_equal(saved.unpack_quotes(path).bid, quotes.bid, equal_nan=True)
    about |= {name: change[name] for name in change if name in about}
    arrays |= {name: change[name] for name in change if name not in about}
    path = archive(path, {name: array for name, array in arrays.items() if array is not None},
                   {name: value for name, value in about.items() if value is not None})  # fmt: skip
    with pytest.raises(ValueError, match=message):
        saved.unpack_quotes(path)
    with pytest.raises(ValueError, match="without a hard limit"):
        saved.pack_quotes(Quotes([0.0], np.arange(-1, 2), 0.5, 0.5, 1.0, limit=1), AS)


class Opens:
    """What a pickle may do: here it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_file_with_a_pickle_is_refused_and_not_run(tmp_path):
    arrays, about, env = parts()
    arrays["low"] = np.array([Opens(tmp_path / "ran"), 1.0], dtype=object)
    np.savez(tmp_path / "bad.npz", allow_pickle=True, about=np.array(json.dumps(about)), **arrays)
    pickle.loads(pickle.dumps(Opens(tmp_path / "ran")))
    (tmp_path / "ran").rmdir()  # it does
    with pytest.raises(ValueError, match="plain arrays"):
        ppo.load(tmp_path / "bad.npz", env)
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Opens(tmp_path / "ran")))
    with pytest.raises(ValueError, match="plain arrays"):
        ppo.load(tmp_path / "bare.npz", env)
    assert not (tmp_path / "ran").exists()


def test_files_that_are_none_are_refused(tmp_path):
    content = ppo.pack(policy()[0])
    for bad in (b"", b"hello", content[:-30], content[: len(content) // 2], content.replace(b"PK", b"QK")):
        (tmp_path / "bad.npz").write_bytes(bad)
        with pytest.raises(ValueError, match="must be an npz file"):
            ppo.load(tmp_path / "bad.npz")
    with zipfile.ZipFile(tmp_path / "large.npz", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("low.npy", bytes(saved.MOST_BYTES + 1))
    with pytest.raises(ValueError, match="at most 67,108,864 are read"):
        ppo.load(tmp_path / "large.npz")
    with pytest.raises(OSError):
        ppo.load(tmp_path / "none.npz")
    saved.write(tmp_path / "quotes.npz", saved.pack_quotes(glft.quotes(AS, gamma=0.1, **CHAIN), AS))
    with pytest.raises(ValueError, match="must be a file of policy"):
        ppo.load(tmp_path / "quotes.npz")


CHANGES = [
    (dict(weights_0=np.zeros((3, 2))), r"weights_1 must have shape|weights_0 must have shape"),
    (dict(biases_1=np.zeros(3)), "weights_1 must have shape"),
    (dict(biases_0=np.zeros((3, 1))), "must have arrays weights_0"),
    (dict(low=np.zeros(3)), r"low must have shape \(2,\); got \(3,\)"),
    (dict(weights_1=np.full((3, 2), np.nan)), "weights_1 must be finite; got nan"),
    (dict(biases_0=np.array([0.0, np.nan, 0.0])), "biases_0 must be finite; got nan"),
    (dict(biases_0=np.array([0.0, -np.inf, np.nan])), "biases_0 must be finite; got -inf"),
    (dict(high=np.full(2, np.inf)), "high must be finite; got inf"),
    (dict(high=np.zeros(2)), "low must be below high"),
    (dict(extra=np.zeros(2)), "must have the arrays"),
    (dict(low=np.array(["a", "b"])), "low must be numbers"),
    (dict(low=None), "must have the arrays"),
    (dict(biases_1=None), "must have the arrays"),
    (dict(weights_0=None), "must have"),
    (dict(weights_0=None, weights_1=None), "must have arrays weights_0, biases_0"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_wrong_names_shapes_and_numbers_are_refused(tmp_path, change, message):
    arrays, about, env = parts()
    arrays = {name: value for name, value in (arrays | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        ppo.load(archive(tmp_path / "bad.npz", arrays, about), env)


OTHERS = [
    (dict(market=Market(2.0, 140.0, 1.6)), "market = .*'k': 1.6"),
    (dict(phi=0.3), "phi = 0.3; its is 0.2"),
    (dict(steps=4), "steps = 4; its is 3"),
    (dict(scale=1.0), "scale = 1.0"),
    (dict(high=1.5), "high = "),
    (dict(actions="spread_skew"), "actions = spread_skew"),
]


@pytest.mark.parametrize(("change", "message"), OTHERS)
def test_the_policy_of_another_environment_is_refused(tmp_path, change, message):
    one, _ = policy()
    ppo.save(one, tmp_path / "policy.npz")
    other = dict(market=AS, phi=0.2, **CHAIN) | change
    with pytest.raises(ValueError, match=message):
        ppo.load(tmp_path / "policy.npz", environment.MarketMakingEnv(other.pop("market"), **other))
    arrays, _, env = parts()
    with pytest.raises(ValueError, match="its is None"):
        ppo.load(archive(tmp_path / "bare.npz", arrays, {"kind": "policy", "environment": 3}), env)
    assert ppo.load(tmp_path / "policy.npz", environment.MarketMakingEnv(AS, phi=0.2, reward="realised", **CHAIN))


def test_a_text_that_is_no_text_is_refused(tmp_path):
    arrays, _, _ = parts()
    for about in (np.array(3.0), np.array(["{}"]), np.array("[1]"), np.array("{"), np.array('{"kind": "sigma"}')):
        np.savez(tmp_path / "bad.npz", about=about, **arrays)
        with pytest.raises(ValueError, match="about"):
            ppo.load(tmp_path / "bad.npz")


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "policy.npz"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        saved.write(path, io.StringIO())
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["policy.npz"]
