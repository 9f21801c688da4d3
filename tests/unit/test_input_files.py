"""What is named as an input and is no plain file is called by its name, with the way out."""

from __future__ import annotations

import os

import pytest

from mobilescope.core.errors import InputFileError
from mobilescope.core.input_files import check_file


def test_a_pipe_is_called_a_pipe_and_not_missing(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputFileError, match=r"pipe is a pipe, and a picture is read more than once.*; save it as a"):
        check_file(pipe, "picture")


def test_folders_devices_and_nothing_are_told_apart(tmp_path):
    with pytest.raises(InputFileError, match="is a folder, and a model file is needed; name the file itself"):
        check_file(tmp_path, "model file")
    with pytest.raises(InputFileError, match="/dev/null is a device"):
        check_file(type(tmp_path)("/dev/null"))
    with pytest.raises(InputFileError, match=r"there is no file .*none; check the path"):
        check_file(tmp_path / "none")


def test_a_file_is_taken(tmp_path):
    (tmp_path / "file").touch()
    check_file(tmp_path / "file")
