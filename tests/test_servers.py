"""`make lab` and `make serve` as a reader starts them: on 127.0.0.1 only, JupyterLab with its token."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

ROOT = Path(__file__).parents[1]


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextmanager
def started(*command, port, **environment):
    """The processes of a make target, once something listens on `port`; ended with their process group."""
    process = subprocess.Popen(
        ["make", *command], cwd=ROOT, env=os.environ | environment, start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while port not in {address.port for address in listening(process.pid)}:
            assert process.poll() is None, f"make {command} ended with {process.returncode}"
            assert time.monotonic() < deadline, "nothing listens"
            time.sleep(0.2)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def listening(pid):
    found = set()
    for member in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # a step of make that has just ended
            connections = member.net_connections(kind="inet")
            found |= {each.laddr for each in connections if each.status == psutil.CONN_LISTEN}
    return found


def status(url):
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_lab_listens_on_this_machine_only_and_wants_its_token(tmp_path):
    port = free_port()
    flags = f"--no-browser --allow-root --port={port} --ServerApp.port_retries=0"
    with started("lab", f"LAB_FLAGS={flags}", port=port, JUPYTER_RUNTIME_DIR=str(tmp_path)) as pid:
        assert {address.ip for address in listening(pid)} == {"127.0.0.1"}
        url = f"http://127.0.0.1:{port}/api/contents"
        assert status(url) == 403
        token = json.loads(next(tmp_path.glob("jpserver-*.json")).read_text())["token"]
        assert len(token) >= 32
        assert status(f"{url}?token={token}") == 200
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/?token={token}", timeout=30) as answer:
            assert urlsplit(answer.url).path == "/lab/tree/contents.ipynb"
            assert '"news": {"disabled": true}' in answer.read().decode()


@pytest.mark.skipif(os.getuid() != 0, reason="says what root has to do")
def test_lab_tells_root_what_to_do():
    command = ["make", "-o", ".venv/ok", "lab"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 2
    assert "JupyterLab does not start as root" in outcome.stderr and "LAB_FLAGS=--allow-root" in outcome.stderr


def test_serve_listens_on_this_machine_only():
    port = free_port()
    # -o book: the book that is there is served as it is, while other tests read it
    with started("-o", "book", "serve", f"PORT={port}", port=port) as pid:
        assert {address.ip for address in listening(pid)} == {"127.0.0.1"}
        assert status(f"http://127.0.0.1:{port}/") == 200
