"""A mistake in an instrument file ends with status 2 and one line that names the file and the key."""

from __future__ import annotations

import os
import sys

import pytest

from mobilescope.app.instruments.instrument import build_instruments
from mobilescope.app.instruments.instrument_file import load_instrument
from mobilescope.app.terminal.console import reporting_errors
from mobilescope.core.config import InstrumentConfig, read_toml
from mobilescope.core.errors import ConfigError, DeviceError, LimitError, MobilescopeError, UserError
from mobilescope.devices.micromanager import demo_configuration

MISTAKES = {
    "unknown key": ("colour = 3", "'colour'"),
    "unknown key in a table": ("[benchtop]\nmagnification = 20", "'benchtop.magnification'"),
    "unknown key in the twin": ("[twin]\nsed = 4", "'twin.sed'"),
    "unknown parameter of the twin": ("[twin.phone]\nbarell = 0.1", "'twin.phone.barell'"),
    "unknown key of a slide": ("[twin.slides.a]\nspecimen = 'blood'\nsize = 4", "'twin.slides.a.size'"),
    "unknown table of the twin": ("[twin.camera]\npixels = 3", "'twin.camera'"),
    "wrong type": ("[benchtop]\npixel_size_um = 'small'", "benchtop.pixel_size_um"),
    "whole number wanted": ("[benchtop]\nframe_rows = 100.5", "benchtop.frame_rows"),
    "a table wanted": ("benchtop = 4", "benchtop"),
    "out of range": ("[benchtop]\nframe_rows = 8", "benchtop.frame_rows"),
    "negative size": ("[benchtop]\npixel_size_um = -0.37", "benchtop.pixel_size_um"),
    "key of a real microscope on the twin": ("[benchtop]\nbackend = 'java'", "benchtop"),
    "no configuration": ("[benchtop]\nkind = 'micromanager'", "needs configuration"),
    "a host without a network": ("[benchtop]\nkind = 'micromanager'\nconfiguration = 'a.cfg'\nhost = 'lab'", "host"),
    "a light that can't be switched off": (
        "[benchtop]\nkind = 'micromanager'\nbackend = 'java'\nlight = 'LED'\nlight_on = 'State=1'", "light_off"
    ),
    "limits the wrong way round": (
        "[benchtop]\nkind = 'micromanager'\nbackend = 'java'\nz_limits_um = [5.0, -5.0]", "z_limits_um"
    ),
    "missing calibration": (
        "[benchtop]\nkind = 'micromanager'\nbackend = 'java'\ncalibration = 'nowhere.toml'",
        "nowhere.toml; make it: mobilescope calibrate stage",
    ),
    "missing configuration": (
        "[benchtop]\nkind = 'micromanager'\nconfiguration = 'nowhere.cfg'", "nowhere.cfg; check the path"
    ),
    "not a choice": ("[phone]\nkind = 'fax'", "phone.kind"),
    "unknown specimen": ("[twin.slides.a]\nspecimen = 'cheese'", "twin.slides.a.specimen"),
    "missing key": ("[twin.slides.a]\nseed = 4", "twin.slides.a.specimen"),
    "unknown preset": ("[phone]\npreset = 'r19'", "phone.preset"),
    "parameter of the wrong type": ("[twin.stage]\nbacklash_um = 'none'", "twin.stage.backlash_um"),
    "parameter out of range": ("[twin.benchtop]\nnumerical_aperture = 1.4", "twin.benchtop.numerical_aperture"),
    "too few numbers": ("[twin.phone]\nexposure = [0.5, 0.5]", "twin.phone.exposure"),
    "odd Bayer frame": ("[twin.phone]\nbayer_rows = 513", "twin.phone.bayer_rows"),
}


def build(path):
    with reporting_errors():
        build_instruments(load_instrument(path), source=str(path))


@pytest.mark.parametrize(("text", "key"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_a_key_names_file_and_key(tmp_path, capsys, text, key):
    path = tmp_path / "scope.toml"
    path.write_text(text)
    with pytest.raises(SystemExit) as stopped:
        build(path)
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert str(path) in said
    assert key in said
    assert said.count("\n") == 1


def test_a_value_of_the_wrong_type_is_shown(tmp_path):
    path = tmp_path / "scope.toml"
    path.write_text("[benchtop]\npixel_size_um = 'small'")
    with pytest.raises(ConfigError, match="'small'"):
        load_instrument(path)


def test_an_unknown_key_brings_the_known_ones(tmp_path):
    path = tmp_path / "scope.toml"
    path.write_text("nmae = 'left'")
    with pytest.raises(ConfigError, match="known keys: benchtop, development, name, phone, ring, stage, twin"):
        load_instrument(path)


UNREADABLE = {
    "missing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "malformed": lambda path: path.write_text("[benchtop\nframe_rows = 100"),
    "key given twice": lambda path: path.write_text("name = 'a'\nname = 'b'"),
    "binary": lambda path: path.write_bytes(bytes(range(256))),
    "picture": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64)),
    "foreign": lambda path: path.write_text('{"name": "a JSON file"}'),
}


@pytest.mark.parametrize("make", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_file_that_is_no_toml_is_named(tmp_path, capsys, make):
    path = tmp_path / "scope.toml"
    make(path)
    with pytest.raises(SystemExit) as stopped:
        build(path)
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert str(path) in said
    assert said.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    path = tmp_path / "scope.toml"
    path.write_text("")
    path.chmod(0)
    with pytest.raises(ConfigError, match="may not be read"):
        read_toml(path)


def test_a_malformed_file_names_the_line(tmp_path):
    path = tmp_path / "scope.toml"
    path.write_text("name = 'a'\nbenchtop = = 3\n")
    with pytest.raises(ConfigError, match="line 2"):
        read_toml(path)


def test_an_empty_file_is_the_twin_with_its_defaults(tmp_path):
    path = tmp_path / "scope.toml"
    path.write_text("# nothing\n")
    assert load_instrument(path) == load_instrument(None) == InstrumentConfig()


@pytest.mark.parametrize(("text", "name"), [
    ('[phone]\nkind = "folder"\nfolder = "arriving"\npixel_um = 0.46\n', "unnamed instrument"),
    ('[benchtop]\nkind = "micromanager"\nbackend = "java"\n', "unnamed instrument"),
    ('name = "lab 3"\n[benchtop]\nkind = "micromanager"\nbackend = "java"\n', "lab 3"),
    ("[benchtop]\nframe_rows = 128\n", "digital twin"),
])
def test_the_twins_name_is_not_lent_to_real_instruments(tmp_path, text, name):
    path = tmp_path / "scope.toml"
    path.write_text(text)
    assert load_instrument(path).name == name


def test_a_configuration_can_not_be_changed_after_reading():
    with pytest.raises(ValueError, match="frozen"):
        InstrumentConfig().benchtop.frame_rows = 3


def test_an_error_says_cause_and_remedy_and_carries_the_exit_status():
    assert str(UserError("it broke", "mend it")) == "it broke; mend it"
    assert str(UserError("it broke")) == "it broke"
    assert (MobilescopeError("").exit_status, DeviceError("").exit_status, UserError("").exit_status) == (1, 1, 2)
    assert LimitError("").exit_status == 2  # asked for, and refused before anything moved


def test_a_package_that_is_missing_is_the_users_to_mend(monkeypatch):
    monkeypatch.setitem(sys.modules, "mm_test_adapters", None)
    with pytest.raises(UserError, match="mm-test-adapters is not installed; install it"):
        demo_configuration()
