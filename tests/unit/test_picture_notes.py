"""A note comes back from every format as it went in, and the picture around it is what it was."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import tifffile

from mobilescope.app.pictures.images import read_rgb, write_rgb
from mobilescope.app.pictures.picture_notes import read_note, read_record
from mobilescope.core.errors import InputFileError, OutputError

NOTE = json.dumps({"label": "µ ≤ \\ \" <é>\n", "list": [1, None, 0.5]}, ensure_ascii=True)
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def picture(dtype=np.uint8):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    ramp = np.linspace(0, top, 40 * 30 * 3).reshape(40, 30, 3)
    return ramp.astype(dtype)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_note_comes_back_and_leaves_the_picture_alone(tmp_path, suffix):
    plain, noted = tmp_path / f"plain{suffix}", tmp_path / f"noted{suffix}"
    write_rgb(plain, picture())
    write_rgb(noted, picture(), note=NOTE)
    assert read_note(plain) is None
    assert read_note(noted) == NOTE
    assert read_record(noted) == json.loads(NOTE)
    np.testing.assert_array_equal(read_rgb(noted), read_rgb(plain))
    np.testing.assert_array_equal(cv2.imread(str(noted), cv2.IMREAD_UNCHANGED), cv2.imread(str(plain), -1))


@pytest.mark.parametrize(("suffix", "dtype", "found"), [
    (".png", np.uint16, np.uint16), (".tif", np.uint16, np.uint16), (".tif", np.float32, np.float32),
    (".png", np.float32, np.uint16), (".jpg", np.uint16, np.uint8), (".jpg", np.float32, np.uint8),
])
def test_a_picture_keeps_what_its_format_can_hold(tmp_path, suffix, dtype, found):
    path = tmp_path / f"picture{suffix}"
    write_rgb(path, picture(dtype), note=NOTE)
    image = read_rgb(path)
    assert image.dtype == found
    assert read_note(path) == NOTE
    top = {np.uint8: 255, np.uint16: 65535, np.float32: 1}
    tolerance = 0.05 if suffix == ".jpg" else 1e-5
    np.testing.assert_allclose(image / top[found], picture(dtype) / top[dtype], atol=tolerance)


def test_other_programs_comments_are_no_notes(tmp_path):
    path = tmp_path / "picture.tif"
    tifffile.imwrite(path, picture(), description="by another program")
    assert read_note(path) is None
    assert read_record(path) is None


def test_a_note_too_long_for_a_jpeg_says_what_takes_it(tmp_path):
    with pytest.raises(OutputError, match="PNG or TIFF"):
        write_rgb(tmp_path / "picture.jpg", picture(), note="x" * 70_000)
    assert list(tmp_path.iterdir()) == []
    write_rgb(tmp_path / "picture.png", picture(), note="x" * 70_000)
    assert read_note(tmp_path / "picture.png") == "x" * 70_000


def test_a_damaged_record_is_named(tmp_path):
    path = tmp_path / "picture.png"
    write_rgb(path, picture(), note="{half")
    with pytest.raises(InputFileError, match=r"picture\.png was made is damaged"):
        read_record(path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"II*\0\0\0\0\0"])
def test_what_is_no_picture_is_named(tmp_path, content):
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(InputFileError, match="can't be read as an image"):
        read_note(path)
