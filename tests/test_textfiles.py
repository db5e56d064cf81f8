"""A text file's lines exactly, or one error: archives built by the standard library and by hand, bytes flipped."""

import gzip
import io
import os
import random
import struct
import zipfile
import zlib

import pytest

from mmlib import textfiles
from mmlib.textfiles import FileError

BODY = b"first\nsecond;\xc3\xa4\nthird\n"
LINES = ["first", "second;ä", "third"]


def zipped(body=BODY, names=("data.txt",), method=zipfile.ZIP_DEFLATED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name in names:
            archive.writestr(name, body)
    return packed.getvalue()


def patched(raw, local, central, value):
    """A zip with a two-byte field of its one member replaced in both headers, at the offsets the format gives."""
    raw = bytearray(raw)
    raw[local : local + 2] = struct.pack("<H", value)
    at = raw.index(b"PK\x01\x02") + central
    raw[at : at + 2] = struct.pack("<H", value)
    return bytes(raw)


def refused(path, rule, **more):
    with pytest.raises(FileError, match=rule) as caught:
        textfiles.lines(path, **more)
    assert path.name in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["a.txt", "a.gz", "a.GZ", "a.zip", "a.ZIP", "a b [1]*?.txt", "a:b.csv", "a'{0}.zip"])
def test_plain_gz_and_zip_give_the_same_lines_whatever_the_case_or_the_name(tmp_path, name):
    pack = {"gz": gzip.compress, "zip": zipped}.get(name.lower().rpartition(".")[2], bytes)
    (tmp_path / name).write_bytes(pack(BODY))
    assert textfiles.lines(tmp_path / name) == LINES
    (tmp_path / name).write_bytes(pack(b"\xef\xbb\xbf" + BODY.replace(b"\n", b"\r\n")))
    assert textfiles.lines(str(tmp_path / name)) == LINES


def test_blank_lines_and_spaces_are_lines_as_they_are(tmp_path):
    (tmp_path / "a").write_bytes(b" x \n\n\ty\n\n")
    assert textfiles.lines(tmp_path / "a") == [" x ", "", "\ty", ""]


def test_several_gzip_members_and_zeros_behind_them_are_one_file(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"1\n") + gzip.compress(b"2\n") + b"\0" * 9)
    assert textfiles.lines(tmp_path / "a.gz") == ["1", "2"]


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"a\nb\xff\n", r"f: line 2 must be utf-8 text; got byte 0xff"),
        (b"a\nb\0\n", r"f: line 2 must be utf-8 text; got a zero byte"),
        (b"a\nb\x1a\n", r"f: line 2 must be utf-8 text; got control character 0x1a"),
        (b"a\r\nb\rc\r\n", r"f: line 2 must be utf-8 text; got control character 0x0d"),
        (b"a\nb", r"f: line 2 must end with a line end \(cut short\?\); got 'b'"),
        (b"", "f must not be empty"),
        (b" \n\n", "f must not be empty"),
    ],
)
def test_what_is_no_whole_text_is_refused_by_line(tmp_path, body, rule):
    (tmp_path / "f").write_bytes(body)
    refused(tmp_path / "f", rule)


def test_a_last_line_without_end_and_another_encoding_can_be_asked_for(tmp_path):
    (tmp_path / "f").write_bytes(b"a\nb\xe4")
    assert textfiles.lines(tmp_path / "f", "latin-1", ended=False) == ["a", "bä"]


def test_what_is_not_there_and_folders_and_impossible_names_are_refused(tmp_path):
    refused(tmp_path / "gone.txt", r"gone\.txt must be a file in .*; got no such file")
    refused(tmp_path, "must be a file; got a folder")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "must be a file; got a device or a pipe")
    (tmp_path / "plain").write_bytes(BODY)
    refused(tmp_path / "plain" / "below", "must be a file that can be read")
    refused(tmp_path / ("x" * 300), "must be a file that can be read")
    with pytest.raises(FileError, match="path must be the name of a file"):
        textfiles.text("a\0b")


@pytest.mark.parametrize(
    ("name", "raw", "rule"),
    [
        ("a.gz", gzip.compress(BODY)[:-9], "must be a whole archive"),
        ("a.gz", gzip.compress(BODY)[:-4], "must be a whole archive"),
        ("a.gz", BODY, "must be a whole archive"),
        ("a.gz", gzip.compress(BODY)[:10] + b"\xff" * 20, "must be a whole archive"),
        ("a.gz", gzip.compress(BODY) + b"more", "must be a whole archive"),
        ("a.gz", b"", "must not be empty"),
        ("a.zip", zipped()[:-30], "must be a whole archive"),
        ("a.zip", BODY, "must be a whole archive"),
        ("a.zip", zipped(names=("a", "b")), "must hold one file; got 2"),
        ("a.zip", zipped(names=()), "must hold one file; got 0"),
        ("a.zip", zipped(b"", names=("a/",)), "must hold one file"),
        ("a.zip", patched(zipped(), 6, 8, 1), "must not be encrypted; got an encrypted 'data.txt'"),
        ("a.zip", patched(zipped(), 8, 10, 99), "must be stored or deflated; got compression method 99"),
        ("a.zip", zipped(method=zipfile.ZIP_LZMA), "must be stored or deflated; got compression method 14"),
    ],
)
def test_a_broken_archive_is_one_clear_error(tmp_path, name, raw, rule):
    (tmp_path / name).write_bytes(raw)
    refused(tmp_path / name, rule)


@pytest.mark.parametrize(("name", "pack"), [("b.gz", gzip.compress), ("b.zip", zipped)])
def test_a_bomb_is_refused_before_it_goes_off_and_a_small_or_ordinary_file_is_not(tmp_path, name, pack):
    """A line over and over packs nearly 300:1; lines of digits about 2:1, and a megabyte harms nobody."""
    bomb = pack((b"x" * 79 + b"\n") * 40_000)
    assert 3.2e6 / len(bomb) > 250
    (tmp_path / name).write_bytes(bomb)
    refused(tmp_path / name, r"must unpack to at most 200 times its .* bytes; got more")
    (tmp_path / name).write_bytes(pack((b"x" * 79 + b"\n") * 13_000))
    assert len(textfiles.lines(tmp_path / name)) == 13_000
    digits = b"".join(b"%d\n" % random.Random(i).getrandbits(64) for i in range(5_000))
    (tmp_path / name).write_bytes(pack(digits))
    assert len(textfiles.lines(tmp_path / name)) == 5_000
    refused(tmp_path / name, "must unpack to at most 50,000 bytes; got more", largest=50_000)
    assert len(textfiles.lines(tmp_path / name, largest=len(digits))) == 5_000


def test_a_plain_file_has_a_limit_too(tmp_path):
    (tmp_path / "f").write_bytes(BODY)
    refused(tmp_path / "f", f"must have at most {len(BODY) - 1} bytes; got {len(BODY)}", largest=len(BODY) - 1)
    assert textfiles.lines(tmp_path / "f", largest=len(BODY)) == LINES


def test_the_error_is_of_the_type_asked_for(tmp_path):
    class Mine(ValueError):
        pass

    for name, raw in (("a.gz", b"x"), ("a.zip", zipped(names=("a", "b"))), ("a.txt", b"\xff")):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(Mine):
            textfiles.text(tmp_path / name, error=Mine)
    with pytest.raises(Mine):
        textfiles.text(tmp_path / "none.zip", error=Mine)


@pytest.mark.parametrize(("name", "pack"), [("f.gz", gzip.compress), ("f.zip", zipped)])
def test_two_hundred_damaged_archives_give_the_text_or_the_error_never_another(tmp_path, name, pack):
    """Both formats carry a CRC of the text: whatever still opens must be the text, byte for byte."""
    body = b"".join(b"line %d\n" % i for i in range(200))
    whole, draw = pack(body), random.Random(7)
    kept = 0
    for _ in range(200):
        raw = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        if draw.random() < 0.3:
            del raw[draw.randrange(len(raw)) :]
        (tmp_path / name).write_bytes(raw)
        try:
            found = textfiles.text(tmp_path / name)
        except FileError:
            continue
        assert found.encode() == body
        kept += 1
    assert kept < 60  # flips in a time stamp or a file's name change nothing that matters
    assert zlib.crc32(body) == zlib.crc32(textfiles.text(_written(tmp_path / name, whole)).encode())


def _written(path, raw):
    path.write_bytes(raw)
    return path
