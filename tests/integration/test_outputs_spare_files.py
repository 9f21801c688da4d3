"""No command puts its output in the place of a file of another kind, such as a session that was named by mistake."""

from __future__ import annotations

import re
import sys

import pytest

from mobilescope.app.cli import main

INSTRUMENT = """\
[twin.phone]
bayer_rows = 192
bayer_columns = 256

[twin.slides.a]
specimen = "blood"
"""
PLAN = """\
[[slides]]
name = "a"
role = "training"
scan = { rows = 1, columns = 1 }
"""
NAMED_BY_MISTAKE = {
    "train": ("train", "session.h5", "--out", "session.h5"),
    "train on another": ("train", "other.h5", "--out", "scope.toml"),
    "evaluate": ("evaluate", "model.pt", "session.h5", "--report", "session.h5"),
    "evaluate over the model": ("evaluate", "model.pt", "session.h5", "--report", "model.pt"),
    "preview": ("--config", "scope.toml", "scan", "plan.toml", "--session", "s.h5", "--preview", "plan.toml"),
    "preview as JPEG": ("--config", "scope.toml", "scan", "plan.toml", "--session", "s.h5", "--preview", "scan.jpg"),
    "light over a session": ("--config", "scope.toml", "calibrate", "light", "--out", "session.h5"),
    "light over the instrument": ("--config", "scope.toml", "calibrate", "light", "--out", "scope.toml"),
    "stage over the instrument": ("--config", "scope.toml", "calibrate", "stage", "--out", "scope.toml"),
    "stage over a session": ("--config", "scope.toml", "calibrate", "stage", "--out", "session.h5"),
    "distortion": ("calibrate", "phone", "session.h5", "--out", "session.h5"),
    "map": ("register", "phone.png", "benchtop.png", "--map", "phone.png"),
}


@pytest.mark.parametrize("arguments", NAMED_BY_MISTAKE.values(), ids=NAMED_BY_MISTAKE)
def test_a_file_of_another_kind_is_refused_as_output_and_stays_as_it_is(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("session.h5", "other.h5", "model.pt", "phone.png", "benchtop.png"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "scope.toml").write_text(INSTRUMENT)
    (tmp_path / "plan.toml").write_text(PLAN)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(sys, "argv", ["mobilescope", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert re.match(rf"error: {arguments[-1]} (is no name for|is there and is no) .*; give ", said[0])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
