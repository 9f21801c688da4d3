"""Arguments and options that several commands share, and what was given of them."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON on standard output.")]
SessionFile = Annotated[Path, typer.Argument(metavar="SESSION", help="A session file (.h5).")]
SessionOption = Annotated[Path, typer.Option("--session", help="Session file to write, or to go on with.")]
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file (.toml).")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file (.pt).")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:N.")]
Cluster = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="dask scheduler to work on (tcp://host:8786), or local: on this machine."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, max=1024, help="Processes of a local cluster; one for each processor without it.")
]


def given_options(context: typer.Context, among: Container[str]) -> list[str]:
    """Return the options that the command line gives, as it writes them, ``among`` parameters of these names."""
    found = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name in among and source is not None and source.name == "COMMANDLINE":
            turned_off = parameter.secondary_opts and context.params[name] is False
            found.append((parameter.secondary_opts if turned_off else parameter.opts)[0])
    return found
