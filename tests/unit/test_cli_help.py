"""Help fills the terminal's lines, whatever its width."""

from __future__ import annotations

from itertools import pairwise

import pytest
from typer.testing import CliRunner

from mobilescope.app.cli import app

WIDTH = 90


@pytest.mark.parametrize("command", [["register"], ["pair"], ["scan"], ["ring", "set"], ["firmware", "flash"]])
def test_lines_of_a_paragraph_are_full(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setenv("TERMINAL_WIDTH", str(WIDTH))
    shown = CliRunner().invoke(app, [*command, "--help"]).output
    lines = [line.strip() for line in shown.split("\u256d")[0].splitlines()]
    assert any(line.startswith("Example: ") for line in lines)
    for line, following in pairwise(lines[2:]):
        if line and following:
            assert len(line) + 1 + len(following.split()[0]) > WIDTH - 4, f"{line!r} is followed by {following!r}"


@pytest.mark.parametrize(("command", "tables"), [
    (["capture"], ["[phone]: the twin's", "[stage] goes"]), (["stage", "move"], ["[stage],"]),
])
def test_names_of_tables_are_shown(command, tables):
    shown = CliRunner().invoke(app, [*command, "--help"]).output
    for table in tables:
        assert table in " ".join(shown.split())
