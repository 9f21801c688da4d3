"""The command that puts registered sessions together into a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mobilescope.app.commands.option_types import Cluster, Json, Workers
from mobilescope.app.terminal.console import ProgressDisplay, print_json, say, stoppable
from mobilescope.core.errors import UserError


def dataset(
    session: Annotated[
        list[Path],
        typer.Argument(metavar="SESSION...", help="Registered sessions, or pair files (.h5) of one warp and factor."),
    ],
    out: Annotated[Path, typer.Option(help="Dataset to write; its card goes beside it (.card.json, .card.md).")] = Path(
        "dataset.h5"
    ),
    role: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SLIDE=ROLE", help="training, validation, blind, or none to leave it out; may be repeated."
        ),
    ] = None,
    patch_px: Annotated[int, typer.Option("--patch-px", min=16, max=4096, help="Side of a patch, even.")] = 60,
    overlap: Annotated[float, typer.Option(min=0, max=0.9, help="What neighbouring patches share.")] = 0.4,
    keep_blank: Annotated[float, typer.Option(min=0, max=1, help="Share of the blank training patches to keep.")] = 0.1,
    least_specimen: Annotated[
        float, typer.Option(min=0, max=1, help="A patch is blank where less of it shows specimen.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Which blank patches are kept.")] = 0,
    cluster: Cluster = None,
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Put registered sessions together: a split by slide, blank patches thinned, and a card of what is in it.

    No pixel is copied: the dataset names its pair files, and `train`, `evaluate`, `export` and `inspect` take it. A
    slide that stands on two sides is refused, by its name and by the digests of its pictures.

    Example: mobilescope dataset monday.h5 tuesday.h5 --out lung.h5 --role lung-7=blind
    """
    from mobilescope.app.datasets.blank_patches import PatchPlan
    from mobilescope.app.datasets.dataset_card import card_lines
    from mobilescope.app.datasets.dataset_files import write_cards
    from mobilescope.app.datasets.datasets import make_dataset
    from mobilescope.app.datasets.thinning import thinning_on
    from mobilescope.data.datasets import role_of

    if patch_px % 2:
        raise UserError(f"a patch of {patch_px} px", "give an even number, so that its label needs no resampling")
    roles = dict(role_of(text) for text in role or ())
    plan = PatchPlan(patch_px, overlap, least_specimen, keep_blank, seed)
    with stoppable() as stop, ProgressDisplay() as progress, thinning_on(cluster, workers, stop=stop, tell=say) as thin:
        result = make_dataset(session, out, plan, roles=roles, thin=thin, on_progress=progress, stop=stop)
    written = write_cards(result.card, out)
    for line in card_lines(result.card):
        say(line)
    say(f"dataset: {out}; card: {written[-1]}")
    if json:
        print_json({"dataset": str(out), "card": result.card})
