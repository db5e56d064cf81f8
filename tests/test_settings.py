"""Settings from a file and the environment: which wins, what is refused, and that no secret is shown."""

import socket

import pytest
from typer.testing import CliRunner

from mmlib import settings, sweep, tick_store
from mmlib.cli import app


def written(tmp_path, text):
    (tmp_path / "mmlib.toml").write_text(text, encoding="utf-8")
    return tmp_path / "mmlib.toml"


def test_without_a_file_there_are_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings.read(environment={}) == settings.Settings()


def test_the_file_of_this_folder_is_read_and_the_environment_is_over_it(tmp_path, monkeypatch):
    written(tmp_path, 'scheduler = "tcp://a:1"\nkdb_port = 5010\ntimeout = 3\n')
    monkeypatch.chdir(tmp_path)
    found = settings.read(environment={"MMLIB_KDB_PORT": "6000", "MMLIB_DATA": "/srv", "MMLIB_TIMEOUT": ""})
    assert (found.scheduler, found.kdb_port, found.timeout, found.data) == ("tcp://a:1", 6000, 3, "/srv")
    monkeypatch.setenv("MMLIB_SCHEDULER", "tcp://b:2")
    assert settings.read().scheduler == "tcp://b:2"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'shceduler = "tcp://a:1"',
            "unknown key 'shceduler'; did you mean 'scheduler'[?]; it may have scheduler, data,",
        ),
        ("colour = 1", "unknown key 'colour'; it may have"),
        ('kdb_password = "hunter2"', "kdb_password must come from the environment, MMLIB_KDB_PASSWORD"),
        ("kdb_port = 0", "mmlib.toml: kdb_port must be an integer and >= 1"),
        ("kdb_port = true", "mmlib.toml: kdb_port must be an integer"),
        ("timeout = -1", "mmlib.toml: timeout must be > 0"),
        ("data = 3", "mmlib.toml: data must be a text; got 3"),
        ('scheduler = "here"', "mmlib.toml: scheduler must be an address"),
        ("= 3", "must be TOML"),
    ],
)
def test_a_bad_file_is_refused_with_its_name(tmp_path, text, words):
    with pytest.raises(ValueError, match=words) as caught:
        settings.read(written(tmp_path, text), {})
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_named_must_be_there(tmp_path):
    with pytest.raises(ValueError, match=r"other.toml: No such file"):
        settings.read(tmp_path / "other.toml", {})


def test_a_bad_variable_is_refused_by_its_own_name(tmp_path):
    with pytest.raises(ValueError, match="MMLIB_KDB_PORT must be a whole number; got 'x'"):
        settings.read(written(tmp_path, ""), {"MMLIB_KDB_PORT": "x"})
    with pytest.raises(ValueError, match="MMLIB_TIMEOUT: timeout must be > 0"):
        settings.read(written(tmp_path, ""), {"MMLIB_TIMEOUT": "-2"})


def test_secrets_come_from_the_environment_and_are_never_shown(tmp_path):
    found = settings.read(written(tmp_path, ""), {"MMLIB_KDB_USER": "someone", "MMLIB_KDB_PASSWORD": "hunter2"})
    assert (found.kdb_user, found.kdb_password) == ("someone", "hunter2")
    for text in (repr(found), str(found), f"{found}"):
        assert "someone" not in text and "hunter2" not in text
    with pytest.raises(ValueError, match="kdb_password must be a text") as caught:
        settings.Settings(kdb_password=b"hunter2")
    assert "hunter2" not in str(caught.value)


def test_the_servers_of_the_settings_are_those_that_are_asked(tmp_path, monkeypatch):
    """Of a kdb+ server without an address, and of a sweep that names neither scheduler nor workers."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]  # nobody listens there in a moment
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMLIB_KDB_PORT", str(port))
    with pytest.raises(ValueError, match=f"kdb://127.0.0.1:{port}: no connection"):
        tick_store.open("kdb://")
    asked = []
    monkeypatch.setattr(sweep, "run", lambda *_, scheduler, **__: asked.append(scheduler) or [][0])
    monkeypatch.setenv("MMLIB_SCHEDULER", "tcp://a:1")
    for options in ([], ["--scheduler", "tcp://b:2"], ["--workers", "1"]):
        CliRunner().invoke(app, ["sweep", "cartea_jaimungal", "-p", "phi", "0.1,0.2", *options])
    assert asked == ["tcp://a:1", "tcp://b:2", None]
