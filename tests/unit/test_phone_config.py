"""The table [phone]: keys that belong to another kind, and keys that a kind needs, are told by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobilescope.app.instruments.instrument import describe
from mobilescope.app.instruments.instrument_file import load_instrument
from mobilescope.app.instruments.phone_opening import open_phone
from mobilescope.core.addresses import without_secret
from mobilescope.core.errors import ConfigError

MISTAKES = {
    "no pitch": ('kind = "folder"\nfolder = "in"', 'kind = "folder" needs pixel_um'),
    "no folder": ('kind = "folder"\npixel_um = 0.5', "needs folder"),
    "no address": ('kind = "webcam"\npixel_um = 0.5', "needs url"),
    "an address that is none": ('kind = "webcam"\npixel_um = 0.5\nurl = "phone:8080"', "begins with http://"),
    "of another kind": ('kind = "adb"\npixel_um = 0.5\nurl = "http://a"', 'url is for kind = "webcam" or "stream"'),
    "of a real phone": ("pixel_um = 0.5", "pixel_um is for kind"),
    "of the twin": ('kind = "adb"\npixel_um = 0.5\npreset = "r18"', 'preset is for kind = "twin"'),
    "half a frame": ('kind = "adb"\npixel_um = 0.5\nframe_rows = 64', "go together"),
    "a folder that is no path": ('kind = "adb"\npixel_um = 0.5\ncamera_folder = "DCIM"', "camera_folder"),
    "an app that is a command": ('kind = "adb"\npixel_um = 0.5\ncamera_app = "a; reboot"', "camera_app"),
    "a pitch of nothing": ('kind = "adb"\npixel_um = 0', "phone.pixel_um"),
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_names_file_and_key(text, said, tmp_path):
    path = tmp_path / "scope.toml"
    path.write_text(f"[phone]\n{text}\n")
    with pytest.raises(ConfigError) as told:
        load_instrument(path)
    assert "scope.toml: phone" in str(told.value)
    assert said in str(told.value)


@pytest.mark.parametrize("text", [
    'url = "http://me:secret@10.0.0.9:8080"', 'url = "htp://me:secret@10.0.0.9"\npixel_um = 0.5',
    'url = ["http://me:secret@10.0.0.9"]', 'url = "me:secret@10.0.0.9"\npixel_um = 0.5',
    'url = "http://10.0.0.9"\nexposure_ms = "me:secret@10.0.0.9"',
])
def test_no_mistake_shows_the_name_and_password_of_an_address(text, tmp_path):
    path = tmp_path / "scope.toml"
    path.write_text(f'[phone]\nkind = "webcam"\n{text}\n')
    with pytest.raises(ConfigError) as told:
        load_instrument(path)
    assert "secret" not in str(told.value)
    assert str(told.value).startswith(f"{path}: phone")


@pytest.mark.parametrize("text", [
    'kind = "folder"\nfolder = "in"', 'kind = "adb"', 'kind = "webcam"\nurl = "http://10.0.0.9:8080"',
    'kind = "stream"\nurl = "rtsp://10.0.0.9/live"',
])
def test_a_phone_is_not_connected_until_its_picture_is_wanted(text, tmp_path):
    path = tmp_path / "scope.toml"
    path.write_text(f"[phone]\n{text}\npixel_um = 0.5\nframe_rows = 64\nframe_columns = 96\n")
    phone = open_phone(load_instrument(path), source=str(path), illuminator=None)
    assert phone.frame_shape == (64, 96)
    assert phone.field_of_view_um == (48, 32)
    phone.close()


def test_a_relative_folder_lies_beside_the_file(tmp_path):
    path = tmp_path / "scope.toml"
    path.write_text('[phone]\nkind = "folder"\npixel_um = 0.5\nfolder = "in"\n')
    assert load_instrument(path).phone.folder == tmp_path / "in"
    path.write_text('[phone]\nkind = "folder"\npixel_um = 0.5\nfolder = "/srv/in"\n')
    assert load_instrument(path).phone.folder == Path("/srv/in")


def test_a_session_keeps_what_makes_the_pictures_and_no_address(tmp_path):
    path = tmp_path / "scope.toml"
    path.write_text(
        '[phone]\nkind = "webcam"\npixel_um = 0.5\nurl = "http://lab:secret@10.0.0.9"\niso = 100\npatience_s = 3\n'
    )
    assert describe(load_instrument(path))["phone"] == {
        "kind": "webcam", "half_pitch_um": 0.87, "pixel_um": 0.5, "iso": 100,
    }
    assert describe(load_instrument(None))["phone"] == {"kind": "twin", "preset": "default", "half_pitch_um": 0.87}


def test_an_address_is_shown_without_its_password():
    assert without_secret("rtsp://lab:p%40ss@10.0.0.9:554/a?b=c") == "rtsp://10.0.0.9:554/a?b=c"
    assert without_secret("camera:0") == "camera:0"
