"""What the ring's commands print for people: a self-test as a table, light and counters as lines."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from mobilescope.app.terminal.console import stderr
from mobilescope.core.ring_protocol import SELF_TEST_TEXT, SelfTest


def say_self_test(report: dict[str, Any]) -> None:
    """Print the tests that ran, each with its result."""
    table = Table(show_edge=False, pad_edge=False)
    for title in ("self-test", "result", "what it is"):
        table.add_column(title)
    for name, passed in report["tests"].items():
        table.add_row(name, "passed" if passed else "FAILED", SELF_TEST_TEXT[SelfTest[name.upper()]])
    stderr.print(table)
    stderr.print(f"RAM that the stack never touched: {report['free_ram_bytes']} B", markup=False)


def say_facts(title: str, facts: dict[str, Any]) -> None:
    """Print names and values, one on a line."""
    stderr.print(title, markup=False)
    for name, value in facts.items():
        text = " ".join(value) if isinstance(value, list) else str(value)
        stderr.print(f"  {name.replace('_', ' '):<16} {text or '-'}", markup=False, soft_wrap=True)
