"""A wrong file to every command: one line that names it and a way out, status 2, and nothing touched."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
from bad_input_bench import (
    ACQUISITION_ARGUMENTS,
    CONFIG_ARGUMENTS,
    MODEL_ARGUMENTS,
    PICTURE_ARGUMENTS,
    PLAN_ARGUMENTS,
    SESSION_ARGUMENTS,
    WRONG_FILES,
    wrong_file,
)

from mobilescope.app.cli import main

WRONG_FILE_CASES = [
    pytest.param(arguments, name, suffix, id=f"{command}-{name}{suffix}")
    for suffix, table, left_out in (
        (".h5", SESSION_ARGUMENTS, ()),
        (".h5", ACQUISITION_ARGUMENTS, ("missing",)),  # a missing session is a new one
        (".toml", CONFIG_ARGUMENTS, ("empty",)),  # an empty file is the twin with its defaults
        (".toml", PLAN_ARGUMENTS, ()),
        (".pt", MODEL_ARGUMENTS, ()),
        (".png", PICTURE_ARGUMENTS, ("png",)),
    )
    for command, arguments in table.items()
    for name in WRONG_FILES if name not in left_out
]


@pytest.mark.parametrize(("arguments", "name", "suffix"), WRONG_FILE_CASES)
def test_a_wrong_file_is_named(bench, refused, arguments, name, suffix):
    file = wrong_file(bench, name, suffix)
    line = refused(*arguments(bench, file))
    assert str(file) in line or str(file.parent) in line


@pytest.mark.parametrize("command", [*SESSION_ARGUMENTS, *ACQUISITION_ARGUMENTS])
def test_a_session_from_a_newer_version_is_refused(bench, refused, command):
    arguments = (SESSION_ARGUMENTS | ACQUISITION_ARGUMENTS)[command]
    assert "format version 99" in refused(*arguments(bench, bench["newer.h5"]))


@pytest.mark.parametrize("command", MODEL_ARGUMENTS)
@pytest.mark.parametrize(("name", "words"), [
    ("focus.pt", "holds a 'mobilescope-focus' model"),
    ("newer.pt", "update mobilescope"),
    ("narrow.pt", "don't fit its own card"),
    ("odd.pt", "network.blocks"),
    ("weights.pt", "is no mobilescope model"),
    ("code.pt", "is not a model file"),
    ("code-in-zip.pt", "is not a model file"),
])
def test_a_model_that_does_not_fit_is_refused_and_runs_no_code(bench, refused, command, name, words):
    line = refused(*MODEL_ARGUMENTS[command](bench, bench[name]))
    assert words in line
    assert name in line
    assert not bench["mark"].exists()


@pytest.mark.parametrize(("command", "name"), [
    *((command, name) for command in PICTURE_ARGUMENTS for name in ("five.tif", "integers.tif", "stack.tif")),
    ("demo", "float.tif"), ("enhance", "scaled.tif"), ("enhance", "nan.tif"),
])
def test_a_picture_of_a_wrong_type_is_refused(bench, refused, command, name):
    assert name in refused(*PICTURE_ARGUMENTS[command](bench, bench[name]))


@pytest.mark.parametrize("name", ["empty", "truncated", "text"])
def test_inspect_finds_damage_in_the_files_beside_a_session(bench, tmp_path, monkeypatch, capsys, name):
    for path in (bench["session.h5"], bench["session.mosaic-first.h5"]):
        shutil.copy(path, tmp_path)
    shutil.copy(bench[f"{name}.h5"], tmp_path / "session.pairs.h5")
    monkeypatch.setattr(sys, "argv", ["mobilescope", "inspect", str(tmp_path / "session.h5"), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert str(tmp_path / "session.pairs.h5") in problem
