"""The twin's truth is written by the twin and read by tests alone."""

from __future__ import annotations

import ast
from pathlib import Path

import mobilescope

PACKAGE = Path(mobilescope.__file__).parent


def truth_reads(path):
    """Yield the lines where a module does more with the truth log's lists than append to them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and node.attr in ("tiles", "captures")):
            continue
        if "truth" not in ast.unparse(node.value):
            continue
        user = parents[node]
        if not (isinstance(user, ast.Attribute) and user.attr == "append"):
            yield node.lineno


def test_the_package_only_appends_to_the_truth():
    assert {str(path): list(truth_reads(path)) for path in PACKAGE.rglob("*.py") if list(truth_reads(path))} == {}


def test_only_the_twin_and_the_composition_root_know_the_truth():
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "mobilescope.twin.truth" in path.read_text(encoding="utf-8")
    }
    assert users == {"twin/benchtop.py", "twin/phone.py", "app/instruments/instrument.py", "app/demo.py"}
