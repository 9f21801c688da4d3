"""Reading a scan's plan in either of its forms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mobilescope.core.errors import ConfigError
from mobilescope.plans.job import JobPlan, load_plan

_USEQ = (".yaml", ".yml", ".json")


def read_plan(path: Path, slides: Sequence[str]) -> tuple[JobPlan, tuple[str, ...]]:
    """Read a plan; return it with the names of the slides to scan, all of them where there are none.

    A useq-schema plan knows no slides; ``slides`` names its one then.
    """
    if path.suffix.lower() not in _USEQ:
        plan = load_plan(path)
        for name in slides:
            plan.slide(name)
        return plan, tuple(slides)
    from mobilescope.plans.useq_plans import load_useq, translate  # useq-schema takes a while to load

    if len(slides) > 1:
        raise ConfigError(f"{path} is a plan for one slide, {len(slides)} were named", "give --slide once")
    name = slides[0] if slides else re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "slide"
    return translate(load_useq(path), slide=name, source=str(path)), ()
