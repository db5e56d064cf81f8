"""The morning report: its files, its page, what it refuses; the README's lines on a desk's two exports."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from mmlib.cli import app
from mmlib.stock_loan import kpis, report, sources, tables, tickets

ROOT = Path(__file__).parents[2]
DATE = "2025-10-02"


def run(*arguments):
    return CliRunner().invoke(app, ["desk", *map(str, arguments)])


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """The sample's first weeks as a desk's two exports: loans as daily flows by name and client, closes with stock."""
    folder = tmp_path_factory.mktemp("exports")
    book = sources.open(sources.SAMPLE)
    dates = book.dates[:20]
    events = book.loans[book.loans["trade_date"].isin(dates)]
    signed = tables.signed_quantity(events)
    flow = events.assign(quantityBorrowed=signed.clip(lower=0), quantityReturned=-signed.clip(upper=0))
    lane = ["trade_date", "security_id", "client_id"]
    flow = flow.groupby(lane).agg({"quantityReturned": "sum", "quantityBorrowed": "sum", "loan_fee": "max",
                                   "borrow_fee": "max"}).reset_index()  # fmt: skip
    benchmark = flow["trade_date"].map(book.rates.set_index("trade_date")["benchmark_rate"])
    flow["rebateRate"] = (benchmark - flow["loan_fee"]).round(2)
    names = ["tradeDate", "securityId", "counterPartyId"]
    flow = flow.rename(columns=dict(zip(lane, names, strict=True)) | {"loan_fee": "loanFee", "borrow_fee": "borrowFee"})
    columns = [*names, "quantityReturned", "quantityBorrowed", "loanFee", "borrowFee", "rebateRate"]
    flow[columns].to_csv(folder / "loans.csv", index=False, date_format="%Y-%m-%d")
    every = book.closes[book.closes["trade_date"].isin(dates)][["trade_date", "security_id", "close"]]
    free = pd.concat(
        tables.as_of(book.inventory, date, ["security_id", "pool_id"])
        .groupby("security_id", as_index=False)["quantity_available"]
        .sum()
        .assign(trade_date=date)
        for date in dates
    )
    stock = every.merge(free, how="left").fillna({"quantity_available": 0})
    stock = stock.rename(columns={"trade_date": "tradeDate", "security_id": "securityId", "close": "marketPrice",
                                  "quantity_available": "quantityAvailable"})  # fmt: skip
    stock["quantityAvailable"] = stock["quantityAvailable"].astype(int)
    stock[["tradeDate", "securityId", "quantityAvailable", "marketPrice"]].to_csv(
        folder / "inventory.csv", index=False, date_format="%Y-%m-%d"
    )
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "report"
    done = run(sources.SAMPLE, "--date", DATE, "-o", folder)
    assert (done.exit_code, done.stderr) == (0, "")
    return folder


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.images, self.links, self.tags, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.links += [attributes[name] for name in ("src", "href", "data") if name in attributes and tag != "img"]
        if tag == "img":
            self.images.append(attributes)

    def handle_data(self, data):
        self.text += data


def test_the_report_is_four_files_and_nothing_else(made):
    assert sorted(os.listdir(made)) == ["forecast.csv", "kpis.csv", "report.html", "tickets.csv"]
    assert os.listdir(made.parent) == ["report"]


def test_the_page_loads_nothing_and_every_picture_has_words(made):
    text = (made / "report.html").read_text(encoding="utf-8")
    page = _Page(text)
    assert page.links == []
    assert "script" not in page.tags
    assert not re.search(r"https?://|url\(|@import", text)
    assert len(page.images) == 5
    for image in page.images:
        assert image["src"].startswith("data:image/png;base64,")
        assert len(image["alt"]) > 20


def test_the_page_says_what_the_tickets_add_up_to(made):
    """The dollars of the file, and those of the two sentences that open the page."""
    found = tickets.read(made / "tickets.csv")
    page = _Page((made / "report.html").read_text(encoding="utf-8"))
    today, best, more, moving = (
        float(n.replace(",", ""))
        for n in re.search(r"earn ([\d,]+) .* tickets ([\d,]+): ([\d,]+) more, after ([\d,]+)", page.text).groups()
    )
    assert more == pytest.approx(best - today, abs=1)
    assert found["dollars_a_day"].sum() - moving == pytest.approx(more, abs=1)  # half a dollar each
    idle = found[(found["ticket"] == "return") & (found["loan_fee"] == 0)]
    assert f"nothing else brings {idle['dollars_a_day'].sum():,.0f}." in page.text
    assert f"{len(found)} tickets" in page.text


def test_the_kpis_are_those_of_the_day(made):
    book = sources.open(sources.SAMPLE)
    day = pd.read_csv(made / "kpis.csv", index_col=["group", "name"])
    whole = kpis.table(book, period="day").loc[DATE]
    assert day.loc["book", "all"].to_numpy() == pytest.approx(whole.to_numpy(), nan_ok=True)
    pools = day.loc["pool", "on_loan_value"].sum(), day.loc["bucket", "on_loan_value"].sum()
    assert pools == pytest.approx((whole["on_loan_value"],) * 2)
    assert day.index.get_level_values(0).unique().tolist() == ["book", "bucket", "pool", "client"]


def test_two_exports_are_enough_and_what_they_do_not_say_is_listed(export, tmp_path):
    done = run(export, "-o", tmp_path / "report")
    assert (done.exit_code, done.stderr) == (0, "")
    page = _Page((tmp_path / "report" / "report.html").read_text(encoding="utf-8"))
    numbers = pd.read_csv(tmp_path / "report" / "kpis.csv", index_col=["group", "name"]).loc[("book", "all")]
    unknown = re.search(r"Not known from these files: ([\w, ]+)\.", page.text)[1].split(", ")
    assert unknown == sorted(numbers.index[numbers.isna()])
    assert "fee_weighted_idle" in unknown
    assert len(page.images) == 5
    found = tickets.read(tmp_path / "report" / "tickets.csv")
    assert set(found["pool_id"]) <= {"POOL"}
    # one pool stands for all lenders: its average cost is no offer, and no ticket moves a fee towards it
    assert not (found["ticket"] == "re-rate").any()
    assert "no ticket changes a fee" in page.text


def test_the_lines_of_the_readme_run_on_two_exports(export, tmp_path, monkeypatch):
    block = re.search(r"```python\n(from mmlib.stock_loan.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    assert len([line for line in block.splitlines() if line]) <= 10
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "exports").symlink_to(export)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block, names)  # the README's own lines, as a reader would type them
    pd.testing.assert_frame_equal(tickets.read("tickets.csv"), names["todo"], check_exact=True)


def test_an_old_report_is_replaced_and_other_files_stay(export, tmp_path):
    (tmp_path / "tickets.csv").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    report.write(sources.open(export), "2025-09-10", tmp_path)
    assert len(tickets.read(tmp_path / "tickets.csv")) > 0
    assert sorted(os.listdir(tmp_path)) == ["forecast.csv", "kpis.csv", "mine.txt", "report.html", "tickets.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "url must be a folder"),
        (["FOLDER", "--date", "2025-10-04"], "date must be a trade date of the book"),
        (["FOLDER", "--date", "soon"], "date must be a trade date of the book"),
        (["FOLDER", "--rerate", "-1"], "rerate must be >= 0"),
        (["FOLDER", "-o", "FILE"], "cannot write"),
        (["FOLDER", "-o", "FILE/report"], "cannot write"),
        (["EMPTY"], "must be in the folder"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(export, tmp_path, arguments, message):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "empty").mkdir()
    places = {"FOLDER": str(export), "FILE": str(tmp_path / "file"), "EMPTY": str(tmp_path / "empty")}
    arguments = [re.sub("FOLDER|FILE|EMPTY", lambda found: places[found[0]], word) for word in arguments]
    done = run(*arguments, *([] if "-o" in arguments else ["-o", tmp_path / "out"]))
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("mmlib: ")
    assert sorted(os.listdir(tmp_path)) == ["empty", "file"]
    assert (tmp_path / "file").read_text() == "kept"


def test_a_write_that_fails_leaves_what_was_there(export, tmp_path, monkeypatch):
    """The disk is full when the page is written: neither a new file nor a temporary one is left."""
    (tmp_path / "tickets.csv").write_text("old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        report.write(sources.open(export), "2025-09-10", tmp_path)
    assert os.listdir(tmp_path) == ["tickets.csv"]
    assert (tmp_path / "tickets.csv").read_bytes() == b"old"


def small(folder, names=("A", "B"), clients=("C1", "C2")):
    """Two exports of three days; the tickets have a return, since of what was borrowed at no fee nothing is wanted."""
    folder.mkdir()
    days = ("2025-09-08", "2025-09-09", "2025-09-10")
    stock = [(day, name, 1000, 20.0 + i) for i, day in enumerate(days) for name in names]
    rows = [(day, name, client) for day in days for name in names for client in clients]
    fees = dict(zip(days, (30.0, 35.0, 0.0), strict=True))
    loans = [(*row, 0, 500, fees[row[0]], 20.0 * (fees[row[0]] > 0) + 5, "") for row in rows]
    columns = ["tradeDate", "securityId", "quantityAvailable", "marketPrice"]
    pd.DataFrame(stock, columns=columns).to_csv(folder / "inventory.csv", index=False)
    columns = "tradeDate securityId counterPartyId quantityReturned quantityBorrowed loanFee borrowFee rebateRate"
    pd.DataFrame(loans, columns=columns.split()).to_csv(folder / "loans.csv", index=False)
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("<script>alert(1)</script>", '"><img src=x>'),
        (r"$\frac$", "US$1 and $2"),
        ("*", "?[1]"),
        ("N" * 300, "%s{0}"),
        ("NaN", "null"),
    ],
)
def test_names_are_letters_whatever_they_look_like(tmp_path, names):
    """Mark-up, mathematics, patterns, a name of 300 letters: on the page and in the file as they were given."""
    done = run(small(tmp_path / "in", names, names), "-o", tmp_path / "out")
    assert (done.exit_code, done.stderr) == (0, "")
    page = _Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert len(page.images) == 5
    assert "script" not in page.tags
    assert all(name in page.text for name in names)
    found = tickets.read(tmp_path / "out" / "tickets.csv")
    assert set(found["security_id"]) == set(found["client_id"]) == set(names)


def test_a_name_that_a_spreadsheet_would_compute_is_refused_and_nothing_is_written(tmp_path):
    for k, (name, client) in enumerate([("=cmd|' /C calc'!A0", "C"), ("A", "@sum")]):
        done = run(small(tmp_path / f"in{k}", (name, "B"), (client, "D")), "-o", tmp_path / "out")
        assert done.exit_code == 2
        assert done.stderr.count("\n") == 1
        assert "must not begin with =" in done.stderr
        assert not (tmp_path / "out").exists()
    assert sorted(os.listdir(tmp_path)) == ["in0", "in1"]


def test_a_folder_where_a_file_goes_is_refused_before_anything_is_replaced(tmp_path):
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    (tmp_path / "out" / "tickets.csv").write_text("old")
    done = run(small(tmp_path / "in"), "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "cannot write" in done.stderr
    assert (tmp_path / "out" / "tickets.csv").read_text() == "old"
    assert sorted(os.listdir(tmp_path / "out")) == ["report.html", "tickets.csv"]


def test_the_folder_may_be_a_device_of_its_own(tmp_path):
    """As a container's mount: the link's folder is on another device than the folder that the link is in."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second device, /dev/shm")
    with tempfile.TemporaryDirectory(dir=memory) as other:
        (tmp_path / "out").symlink_to(other)
        done = run(small(tmp_path / "in"), "-o", tmp_path / "out")
        assert (done.exit_code, done.stderr) == (0, "")
        assert sorted(os.listdir(other)) == ["forecast.csv", "kpis.csv", "report.html", "tickets.csv"]


def default_signals():
    """In the child: SIGINT as a terminal sends it, also where the tests run in a shell's background."""
    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_in_the_middle_leaves_what_was_there(tmp_path, name, code):
    """A real signal to a real process, at the moment at which its temporary folder stands beside the old tickets."""
    folder, out = small(tmp_path / "in"), tmp_path / "out"
    out.mkdir()
    (out / "tickets.csv").write_text("old")
    command = [sys.executable, "-m", "mmlib.cli", "desk", str(folder), "-o", str(out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, preexec_fn=default_signals, **pipes) as process:
        while len(os.listdir(out)) == 1 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(getattr(signal, name))
        said, complained = process.communicate(timeout=120)
    assert process.returncode == code
    assert said == ""
    assert "Traceback" not in complained
    assert os.listdir(out) == ["tickets.csv"]
    assert (out / "tickets.csv").read_text() == "old"
