"""How large a text may be when nobody says otherwise: files that claim their size and hold next to nothing."""

import gzip
import os

import pytest

from mmlib import textfiles


def test_without_a_word_a_text_may_have_a_quarter_of_a_gibibyte(tmp_path):
    """A sparse file of 2^28 + 1 bytes is refused by its size alone, before it is read."""
    place = tmp_path / "f"
    place.write_bytes(b"a\n")
    os.truncate(place, 1024**3 // 4 + 1)
    with pytest.raises(textfiles.FileError, match="must have at most 268,435,456 bytes; got 268,435,457"):
        textfiles.text(place)


@pytest.mark.parametrize("times", [199, 201])
def test_two_hundred_times_its_archive_is_the_most_a_text_may_be(tmp_path, times):
    """Beyond a mebibyte; the archive's size is brought to a part of the text by the length of the name it carries."""
    size = 8 * 1024**2
    raw = gzip.compress(b"x" * (size - 1) + b"\n", 9)
    packed = size // times + (size % times > 0 and times < 200)
    assert len(raw) < packed
    raw = raw[:3] + b"\x08" + raw[4:10] + b"n" * (packed - len(raw) - 1) + b"\0" + raw[10:]  # flag 8: a file's name
    assert len(raw) == packed
    (tmp_path / "a.gz").write_bytes(raw)
    if times < 200:
        assert len(textfiles.text(tmp_path / "a.gz")) == size
    else:
        with pytest.raises(textfiles.FileError, match="must unpack to at most 200 times its"):
            textfiles.text(tmp_path / "a.gz")


def test_a_mebibyte_is_harmless_and_a_byte_more_is_not(tmp_path):
    for size in (1024**2, 1024**2 + 1):
        (tmp_path / "a.gz").write_bytes(gzip.compress(b"x" * (size - 1) + b"\n", 9))
        assert 200 * (tmp_path / "a.gz").stat().st_size < 1024**2
        if size == 1024**2:
            assert len(textfiles.text(tmp_path / "a.gz")) == size
        else:
            with pytest.raises(textfiles.FileError, match="must unpack to at most 200 times its"):
                textfiles.text(tmp_path / "a.gz")
