"""By which name an instrument stands in its sessions, and which names bar going on with one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from session_samples import header

from mobilescope.app.acquisition.ingesting import IngestOptions, ingest_folder
from mobilescope.app.inspection.inspecting import describe as describe_file
from mobilescope.app.inspection.inspecting import lines
from mobilescope.app.instruments.instrument import describe
from mobilescope.app.instruments.instrument_file import load_instrument
from mobilescope.core.errors import UserError
from mobilescope.data.session import Session
from mobilescope.data.writer import SessionWriter

MICROSCOPE = '[benchtop]\nkind = "micromanager"\nbackend = "java"\n'


def described(folder, text, **changes):
    """Return the header of a session that an instrument file begins, with what an earlier version wrote otherwise."""
    (folder / "scope.toml").write_text(text)
    description = describe(load_instrument(folder / "scope.toml"))
    return header().model_copy(update={"instrument": {"instrument": description | changes}})


def begin(path, begun):
    SessionWriter.create_or_resume(path, begun, margin_bytes=0).close()


def test_a_session_that_was_recorded_as_the_twins_goes_on_with_the_unchanged_instrument_file(tmp_path):
    old = described(tmp_path, MICROSCOPE, name="digital twin")
    begin(tmp_path / "s.h5", old)
    for text in (MICROSCOPE, 'name = "digital twin"\n' + MICROSCOPE, 'name = "lab 3"\n' + MICROSCOPE):
        begin(tmp_path / "s.h5", described(tmp_path, text))
    with Session.open(tmp_path / "s.h5") as session:
        assert session.header == old
        assert session.header.instrument_name == "unnamed instrument"
        assert any("unnamed instrument (benchtop micromanager" in line for line in lines(describe_file(session.path)))
    with pytest.raises(UserError, match=r"benchtop\.kind: micromanager in the file, twin now"):
        begin(tmp_path / "s.h5", described(tmp_path, ""))


def test_an_unnamed_instrument_may_get_a_name_and_a_named_one_keeps_its(tmp_path):
    begin(tmp_path / "s.h5", described(tmp_path, MICROSCOPE))
    begin(tmp_path / "s.h5", described(tmp_path, 'name = "lab 3"\n' + MICROSCOPE))
    begin(tmp_path / "named.h5", described(tmp_path, 'name = "lab 3"\n' + MICROSCOPE))
    for text in (MICROSCOPE, 'name = "lab 4"\n' + MICROSCOPE):
        with pytest.raises(UserError, match=r"name: lab 3 in the file"):
            begin(tmp_path / "named.h5", described(tmp_path, text))


@pytest.mark.parametrize(("text", "name"), [
    ("", "digital twin"), (MICROSCOPE, "unnamed instrument"), ('name = "lab 3"\n' + MICROSCOPE, "lab 3"),
])
def test_a_session_tells_its_instruments_name(tmp_path, text, name):
    begin(tmp_path / "s.h5", described(tmp_path, text))
    with Session.open(tmp_path / "s.h5") as session:
        assert session.header.instrument_name == name


@pytest.mark.parametrize(("text", "name"), [(None, "unnamed instrument"), ('name = "lab 3"\n', "lab 3")])
def test_pictures_that_were_taken_elsewhere_are_not_the_twins(tmp_path, text, name):
    (tmp_path / "dcim").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "dcim/a.jpg"), picture)
    instrument = None
    if text is not None:
        instrument = tmp_path / "scope.toml"
        instrument.write_text(text)
    config, options = load_instrument(instrument), IngestOptions("a", pixel_um=0.5)
    ingest_folder(tmp_path / "dcim", tmp_path / "s.h5", config, options, source="here")
    with Session.open(tmp_path / "s.h5") as session:
        assert session.header.instrument_name == name
