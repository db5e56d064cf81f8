"""Public sources by name, and a download that can be broken off: what `mmlib fetch` calls.

Each source names its owner's page. Binance documents the form of its addresses; of the others the page is the owner's,
and the address of a file the one in common use, which an owner may change: then the error names the page. A file is
downloaded to FILE.part, and gets its name when all of it is there; FILE.sha256 is written at the first fetch, and every
later one must agree.
"""

import hashlib
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from http.client import HTTPResponse

CHUNK = 1 << 16


class FetchError(ValueError):
    """A file cannot be had, or is not what it should be; one line."""


class Source(NamedTuple):
    """A public source: what it is, the address of a file, whose it is.

    Attributes
    ----------
    what : str
        One line.
    address, file : str
        Templates over the parameters; `file` is the name on disk.
    parameters : dict of str to (default, pattern, example)
        Texts; a default of None must be given.
    page, terms, cite : str
        The owner's page, whose terms hold, and what to cite.
    starts : bytes
        What a file begins with; a page in place of the file does not.
    checksum : str
        Ending of the address at which the owner publishes the file's SHA-256; "" where none is.
    """

    what: str
    address: str
    file: str
    parameters: dict[str, tuple[str | None, str, str]]
    page: str
    terms: str
    cite: str
    starts: bytes
    checksum: str = ""


DATE = (None, r"\d{4}-\d{2}-\d{2}", "2021-04-27")
SOURCES = {
    # page: https://lobsterdata.com/info/DataSamples.php
    "lobster": Source(
        "LOBSTER's sample days of NASDAQ order books: messages and book, one zip",
        "https://lobsterdata.com/info/sample/LOBSTER_SampleFile_{ticker}_2012-06-21_{level}.zip",
        "LOBSTER_SampleFile_{ticker}_2012-06-21_{level}.zip",
        {"ticker": ("AMZN", "AAPL|AMZN|GOOG|INTC|MSFT", "AMZN"), "level": ("1", "1|5|10|30|50", "5")},
        "https://lobsterdata.com/info/DataSamples.php",
        "LOBSTER's own; a sample to try, no leave to pass it on is stated",
        "Huang and Polak (2011), LOBSTER: Limit Order Book Reconstruction System, doi:10.2139/ssrn.1977207",
        b"PK",
    ),
    # README of https://github.com/binance/binance-public-data: data.binance.vision, with a .CHECKSUM beside each file
    "binance": Source(
        "Binance's archive of a day of a symbol on the spot market",
        "https://data.binance.vision/data/spot/daily/{kind}/{symbol}/{symbol}-{kind}-{date}.zip",
        "{symbol}-{kind}-{date}.zip",
        {"symbol": (None, "[A-Z0-9]{3,20}", "BTCUSDT"), "date": DATE, "kind": ("trades", "trades|aggTrades", "trades")},
        "https://github.com/binance/binance-public-data",
        "Binance's terms of use; no licence is stated with the files",
        "Binance, Binance Data Collection, https://data.binance.vision",
        b"PK",
        ".CHECKSUM",
    ),
    # page: https://www.sec.gov/data-research/sec-markets-data/fails-deliver-data
    "sec-fails": Source(
        "SEC fails-to-deliver of half a month",
        "https://www.sec.gov/files/data/fails-deliver-data/cnsfails{month}{half}.zip",
        "cnsfails{month}{half}.zip",
        {"month": (None, r"\d{6}", "202103"), "half": ("a", "a|b", "a")},
        "https://www.sec.gov/data-research/sec-markets-data/fails-deliver-data",
        "public information of the United States government; the SEC asks programs to name themselves, see --agent",
        "U.S. Securities and Exchange Commission, Fails-to-Deliver Data",
        b"PK",
    ),
    # page: https://www.finra.org/finra-data/browse-catalog/short-sale-volume-data/daily-short-sale-volume-files
    "finra-short-volume": Source(
        "FINRA's daily short sale volume, consolidated",
        "https://cdn.finra.org/equity/regsho/daily/CNMSshvol{day}.txt",
        "CNMSshvol{day}.txt",
        {"date": DATE},
        "https://www.finra.org/finra-data/browse-catalog/short-sale-volume-data/daily-short-sale-volume-files",
        "FINRA's terms of use, https://www.finra.org/terms-of-use",
        "FINRA, Daily Short Sale Volume Files",
        b"Date|",
    ),
    # page: below; its download calls this address, which is documented nowhere that we know of
    "occ-balances": Source(
        "The Options Clearing Corporation's stock-loan balances of a day",
        "https://marketdata.theocc.com/mdapi/stock-loan?report_date={date}&report_type=daily",
        "occ_stock_loan_{date}.json",
        {"date": DATE},
        "https://www.theocc.com/market-data/market-data-reports/volume-and-open-interest/stock-loan-volume",
        "OCC's user agreement, at the foot of its pages",
        "The Options Clearing Corporation, Stock Loan Volume",
        b"{",
    ),
}


class Fetched(NamedTuple):
    """What was done: the file's SHA-256, its bytes and lines, and a word on the checksum."""

    sha256: str
    size: int
    lines: int
    checked: str


def address(source: Source, values: dict[str, str], base: str = "") -> tuple[str, str]:
    """Address and file name of what `values` name; with `base` another scheme and host.

    Raises
    ------
    FetchError
        If a value is missing, or not as its example; or `base` is no http or https address.
    """
    full = {name: values.get(name, default) for name, (default, _, _) in source.parameters.items()}
    for name, (_, pattern, example) in source.parameters.items():
        value = full[name]
        if value is None:
            raise FetchError(f"{name} must be given, as in -p {name} {example}")
        if not re.fullmatch(pattern, value):
            raise FetchError(f"{name} must be as {example} ({pattern}); got {value!r}")
    texts = {name: str(value) for name, value in full.items()}
    texts["day"] = texts.get("date", "").replace("-", "")
    found = source.address.format(**texts)
    if base:
        other = urlsplit(base)
        if other.scheme not in ("http", "https") or not other.netloc:
            raise FetchError(f"--base must be an address as https://mirror.example; got {base!r}")
        parts = urlsplit(found)
        path = other.path.rstrip("/") + parts.path
        found = urlunsplit((other.scheme, other.netloc, path, parts.query, ""))
    return found, source.file.format(**texts)


def fetch(
    source: Source, url: str, file: Path, *, agent: str, timeout: float, watch: Callable[[int, int], object]
) -> Fetched:
    """Download `url` to `file`, going on where an earlier call was broken off, and check it.

    A file that is there is checked, not downloaded again. `watch` is called with the bytes that are there and those
    that there will be, 0 if not known.

    Raises
    ------
    FetchError
        If the server refuses or breaks off, or the file is another one than was recorded, published or expected.
    OSError
        If the disk is full or the folder cannot be written.
    """
    record = file.with_name(f"{file.name}.sha256")
    known = record.read_text(encoding="ascii").split()[0] if record.exists() else ""
    if file.exists():
        found = _sha256(file)
        if known and found != known:
            raise FetchError(f"{file} is not the file that {record.name} was written for: delete one of them")
        checked = f"verified, by {record.name}" if known else f"recorded, in {record.name}"
    else:
        headers = {"User-Agent": agent}
        part = file.with_name(f"{file.name}.part")
        _download(url, part, headers, timeout, watch)
        found, checked = _accepted(source, url, part, known, headers, timeout), f"recorded, in {record.name}"
        if known:
            checked = f"verified, by {record.name}"
        os.replace(part, file)
        part.with_name(f"{part.name}.tag").unlink(missing_ok=True)
    if not known:
        record.write_text(f"{found}  {file.name}\n", encoding="ascii")
    return Fetched(found, file.stat().st_size, _lines(file), checked)


def _accepted(source: Source, url: str, part: Path, known: str, headers: dict[str, str], timeout: float) -> str:
    """The SHA-256 of a finished download; what is not the right file is deleted and refused."""
    found = _sha256(part)
    with part.open("rb") as stream:
        begins = stream.read(len(source.starts))
    wrong = ""
    if begins != source.starts:
        wrong = (
            f"{url} is no file of this source: it begins {begins!r}, not {source.starts!r} (a page? see {source.page})"
        )
    elif known and found != known:
        wrong = f"{url} is not the file of the first fetch (SHA-256 {found}, recorded {known}); if its owner has" + (
            f" published another, delete {part.name.removesuffix('.part')}.sha256"
        )
    elif source.checksum:
        with _opened(url + source.checksum, headers, timeout) as answer:
            published = answer.read(CHUNK).decode("ascii", "replace").split()
        if not published or found != published[0].lower():
            wrong = f"{url} is not what its owner's checksum says (SHA-256 {found}): fetch it again"
    if wrong:
        part.unlink()
        raise FetchError(wrong)
    return found


def _download(
    url: str, part: Path, headers: dict[str, str], timeout: float, watch: Callable[[int, int], object]
) -> None:
    """Fill `part`, from where it ends if the server has kept the same file, else from its beginning."""
    from http.client import HTTPException

    tag = part.with_name(f"{part.name}.tag")
    have = part.stat().st_size if part.exists() else 0
    if have and tag.exists():
        headers = headers | {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="latin-1")}
    else:
        have = 0
    try:
        answer = _opened(url, headers, timeout)
    except _Unsatisfiable:
        have, answer = 0, _opened(url, {"User-Agent": headers["User-Agent"]}, timeout)
    with answer:
        if answer.status != 206 or not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else 0
        name = answer.headers.get("ETag", "") or answer.headers.get("Last-Modified", "")
        if name and not name.startswith("W/"):
            tag.write_text(name, encoding="latin-1")
        else:
            tag.unlink(missing_ok=True)
        with part.open("ab" if have else "wb") as stream:
            while True:
                try:
                    piece = answer.read(CHUNK)
                except (HTTPException, OSError) as error:
                    raise _cut(url, have, total) from error
                if not piece:
                    break
                stream.write(piece)
                have += len(piece)
                watch(have, total)
    if total and have != total:
        raise _cut(url, have, total)


class _Unsatisfiable(Exception):
    """The server has no bytes beyond those that are there."""


def _opened(url: str, headers: dict[str, str], timeout: float) -> "HTTPResponse":
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    request = Request(url, headers=headers)
    try:
        return urlopen(request, timeout=timeout)
    except HTTPError as error:
        error.close()
        if error.code == 416 and "Range" in headers:
            raise _Unsatisfiable from None
        raise FetchError(f"{url}: {error.code} {error.reason}") from None
    except URLError as error:
        raise FetchError(f"{url}: {getattr(error.reason, 'strerror', None) or error.reason}") from None
    except (HTTPException, OSError) as error:
        raise FetchError(f"{url}: {getattr(error, 'strerror', None) or error or type(error).__name__}") from None


def _cut(url: str, have: int, total: int) -> FetchError:
    of = f" of {total:,}" if total else ""
    return FetchError(f"{url}: broken off after {have:,}{of} bytes; the same command goes on from there")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _lines(file: Path) -> int:
    """Ends of lines in the file, in the members of a zip."""
    if not zipfile.is_zipfile(file):
        with file.open("rb") as stream:
            return sum(piece.count(b"\n") for piece in iter(lambda: stream.read(CHUNK), b""))
    try:
        with zipfile.ZipFile(file) as archive:
            count = 0
            for member in archive.infolist():
                with archive.open(member) as inside:
                    count += sum(piece.count(b"\n") for piece in iter(lambda: inside.read(CHUNK), b""))
            return count
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise FetchError(f"{file} is a damaged zip: {error}") from None
