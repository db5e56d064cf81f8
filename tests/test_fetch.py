"""`mmlib fetch` against a server of its own on 127.0.0.1: what it says first, how it goes on, what it refuses.

The server keeps one file at every path, and behaves as the test says: it breaks off, knows no ranges, has another file.
"""

import hashlib
import io
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmlib import cli

LINES = 40_000
TEXT = b"Date|Symbol|ShortVolume\r\n" + b"20210427|GME|1234567\r\n" * (LINES - 1)
COMMAND = ["fetch", "finra-short-volume", "-p", "date", "2021-04-27"]
NAME = "CNMSshvol20210427.txt"


class Server(ThreadingHTTPServer):
    """What it has, how it behaves, and the requests it has had."""

    content, tag, ranges, cut, status, stall = TEXT, '"one"', True, None, 200, False
    daemon_threads = True

    def __init__(self):
        self.asked = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append((self.path, dict(self.headers)))
        if server.status != 200:
            self.send_error(server.status)
            return
        content, start = server.content, 0
        if self.path.endswith(".CHECKSUM"):
            content = hashlib.sha256(server.published).hexdigest().encode() + b"  file.zip\n"
        same = self.headers.get("If-Range") in (None, server.tag)
        if server.ranges and same and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        if server.tag:
            self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(content[start : server.cut])
        if server.stall:
            self.wfile.flush()
            time.sleep(60)

    def log_message(self, *_):
        """Nothing on stderr."""


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = Server()
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def base(server):
    return f"http://127.0.0.1:{server.server_address[1]}"


def fetch(server, *more, command=COMMAND):
    return CliRunner().invoke(cli.app, [*command, "--base", base(server), *map(str, more)])


def failed(outcome, code=1):
    assert outcome.exit_code == code
    (line,) = outcome.stderr.splitlines()
    return line


def test_terms_come_first_then_the_file_its_lines_and_its_checksum(server, tmp_path):
    outcome = fetch(server)
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    said = outcome.stdout.splitlines()
    assert [line.partition(":")[0] for line in said[1:5]] == ["from", "page", "terms", "cite"]
    assert said[1].endswith("/equity/regsho/daily/" + NAME) and "finra.org" in said[2]
    digest = hashlib.sha256(TEXT).hexdigest()
    assert said[5:7] == [f"{len(TEXT):,} bytes, {LINES:,} lines", f"sha256: {digest} (recorded, in {NAME}.sha256)"]
    assert (tmp_path / NAME).read_bytes() == TEXT
    assert (tmp_path / f"{NAME}.sha256").read_text() == f"{digest}  {NAME}\n"
    assert sorted(os.listdir()) == [NAME, f"{NAME}.sha256"]
    assert server.asked[0][1]["User-Agent"].startswith("mmlib/")


def test_a_file_that_is_there_is_verified_without_the_network(server, tmp_path):
    fetch(server)
    outcome = fetch(server)
    assert outcome.exit_code == 0 and "(verified, by" in outcome.stdout
    assert len(server.asked) == 1
    (tmp_path / NAME).write_bytes(TEXT + b"x")
    assert "is not the file that CNMSshvol20210427.txt.sha256 was written for" in failed(fetch(server))


def test_what_is_broken_off_goes_on_with_the_same_command(server, tmp_path):
    server.cut = 300_000
    line = failed(fetch(server))
    assert line.endswith(f"broken off after 300,000 of {len(TEXT):,} bytes; the same command goes on from there")
    assert sorted(os.listdir()) == [f"{NAME}.part", f"{NAME}.part.tag"]
    server.cut = None
    assert fetch(server).exit_code == 0
    assert server.asked[-1][1]["Range"] == "bytes=300000-"
    assert (tmp_path / NAME).read_bytes() == TEXT
    assert sorted(os.listdir()) == [NAME, f"{NAME}.sha256"]


@pytest.mark.parametrize("how", ["no ranges", "another file meanwhile", "no name of the version"])
def test_where_the_rest_cannot_be_trusted_the_file_is_fetched_whole(server, tmp_path, how):
    """A mixture of two versions would be recorded as the truth."""
    if how == "no name of the version":
        server.tag = ""
    server.cut = 300_000
    failed(fetch(server))
    server.cut, server.ranges = None, how != "no ranges"
    if how == "another file meanwhile":
        server.tag, server.content = '"two"', TEXT.replace(b"GME", b"AMC")
    assert fetch(server).exit_code == 0
    assert (tmp_path / NAME).read_bytes() == server.content


def test_a_part_that_is_longer_than_the_file_is_begun_again(server, tmp_path):
    server.cut = 300_000
    failed(fetch(server))
    (tmp_path / f"{NAME}.part").write_bytes(TEXT + b"more")
    server.cut = None
    assert fetch(server).exit_code == 0
    assert (tmp_path / NAME).read_bytes() == TEXT


def test_another_file_than_the_recorded_one_is_refused(server, tmp_path):
    fetch(server)
    (tmp_path / NAME).unlink()
    server.content = TEXT.replace(b"GME", b"AMC")
    line = failed(fetch(server))
    assert "is not the file of the first fetch" in line and "delete CNMSshvol20210427.txt.sha256" in line
    assert os.listdir() == [f"{NAME}.sha256"] or sorted(os.listdir()) == [f"{NAME}.part.tag", f"{NAME}.sha256"]
    (tmp_path / f"{NAME}.sha256").unlink()
    assert fetch(server).exit_code == 0


def zipped():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("trades.csv", "1,2\n" * 1000)
    return stream.getvalue()


def test_the_owners_checksum_is_asked_for(server, tmp_path):
    command = ["fetch", "binance", "-p", "symbol", "BTCUSDT", "-p", "date", "2024-01-02"]
    server.content = server.published = zipped()
    outcome = fetch(server, command=command)
    assert outcome.exit_code == 0 and "1,000 lines" in outcome.stdout
    assert [path for path, _ in server.asked] == [
        f"/data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-01-02.zip{end}" for end in ("", ".CHECKSUM")
    ]
    for file in os.listdir():
        (tmp_path / file).unlink()
    server.published = b"another"
    assert "is not what its owner's checksum says" in failed(fetch(server, command=command))


def test_a_page_in_place_of_the_file_is_refused(server):
    server.content = b"<!doctype html><title>LOBSTER</title>"
    line = failed(fetch(server, command=["fetch", "lobster"]))
    assert "begins b'<!', not b'PK'" in line or "it begins b'<!', not b'PK'" in line
    assert not any(name.endswith((".zip", ".part", ".sha256")) for name in os.listdir())


def test_refusals_of_the_server_and_of_no_server(server):
    server.status = 404
    assert failed(fetch(server)).endswith(f"/daily/{NAME}: 404 Not Found")
    server.status = 503
    assert failed(fetch(server)).endswith(": 503 Service Unavailable")
    outcome = CliRunner().invoke(cli.app, [*COMMAND, "--base", "http://127.0.0.1:9"])
    assert failed(outcome).endswith(": Connection refused")
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fetch", "finra"], "no source 'finra'"),
        (["fetch", "lobstr"], "did you mean 'lobster'?"),
        (["fetch", "finra-short-volume"], "date must be given, as in -p date 2021-04-27"),
        (["fetch", "finra-short-volume", "-p", "date", "27.4.2021"], "date must be as 2021-04-27"),
        (["fetch", "finra-short-volume", "-p", "dat", "2021-04-27"], "did you mean 'date'?"),
        (["fetch", "lobster", "-p", "ticker", "../../x"], "ticker must be as AMZN"),
        ([*COMMAND, "--base", "ftp://127.0.0.1"], "--base must be an address as https://mirror.example"),
        ([*COMMAND, "-o", "missing"], "its folder does not exist"),
        ([*COMMAND, "-o", "/proc"], "cannot write /proc/"),
        ([*COMMAND, "-p", "date", "2021-04-28"], "'date' is given twice"),
    ],
)
def test_a_bad_command_is_refused_before_anything_is_asked(server, arguments, words):
    outcome = CliRunner().invoke(cli.app, arguments if "--base" in arguments else [*arguments, "--base", base(server)])
    assert words in failed(outcome, code=2)
    assert outcome.stdout == "" and server.asked == [] and os.listdir() == []


def test_without_a_source_all_are_listed_with_a_command_each():
    outcome = CliRunner().invoke(cli.app, ["fetch"])
    commands = [line for line in outcome.stdout.splitlines() if line.startswith("    mmlib fetch ")]
    assert outcome.exit_code == 0 and len(commands) == 5


def test_the_commands_of_the_readme_run(server):
    """As written, but for the server."""
    lines = re.findall(r"^\.venv/bin/mmlib (fetch.*)$", (Path(__file__).parents[1] / "README.md").read_text(), re.M)
    assert len(lines) >= 2
    for line in lines:
        outcome = fetch(server, command=shlex.split(line, comments=True))
        assert outcome.exit_code == 0, line
    assert len(server.asked) == len(lines) - 1


def default_signals():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def limited():
    """A disk of 200 kB, as far as this process can see; the signal that comes with it is not wanted."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


def started(server, setup, **options):
    command = [sys.executable, "-m", "mmlib.cli", *COMMAND, "--base", base(server)]
    return subprocess.Popen(command, stdout=-1, stderr=-1, text=True, preexec_fn=setup, **options)


def test_a_full_disk_is_one_line_and_what_is_there_is_kept(server, tmp_path):
    with started(server, limited, cwd=tmp_path) as process:
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    assert stderr.splitlines() == [f"mmlib: cannot write {tmp_path / NAME}: File too large"]
    assert (tmp_path / f"{NAME}.part").stat().st_size <= 200_000
    assert fetch(server).exit_code == 0
    assert (tmp_path / NAME).read_bytes() == TEXT


def test_ctrl_c_leaves_the_part_for_the_same_command(server, tmp_path):
    server.cut, server.stall = 400_000, True
    part = tmp_path / f"{NAME}.part"
    with started(server, default_signals, cwd=tmp_path) as process:
        deadline = time.monotonic() + 120
        while not (part.exists() and part.stat().st_size >= 300_000):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "")
    kept = part.stat().st_size
    assert 300_000 <= kept <= 400_000
    server.cut, server.stall = None, False
    assert fetch(server).exit_code == 0
    assert server.asked[-1][1]["Range"] == f"bytes={kept}-"
    assert (tmp_path / NAME).read_bytes() == TEXT
