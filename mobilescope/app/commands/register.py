"""The command that registers."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobilescope.app.commands.option_types import Cluster, Json, Workers, given_options
from mobilescope.app.terminal.console import ProgressDisplay, print_json, say, showing_warnings, stoppable
from mobilescope.core.errors import UserError

if TYPE_CHECKING:
    from mobilescope.core.development_config import DevelopmentConfig
    from mobilescope.imaging.distortion import DistortionMap

_REFUSED = 3
_OF_SESSIONS = ("out", "warp", "factor", "jpeg_ratio", "white_balance", "crops", "search", "cluster", "workers")


class CropsChoice(StrEnum):
    """Which parts of a capture are compared."""

    WHOLE = "whole"
    R18 = "r18"
    SQUARE = "square"


class WarpChoice(StrEnum):
    """Which image is resampled onto the other's lattice."""

    PHONE = "phone"
    BENCHTOP = "benchtop"


def register(
    context: typer.Context,
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="SESSION...|MOVING FIXED",
            help="Sessions (.h5), or two images: the second one shows the first one's field, and more.",
        ),
    ],
    warp: Annotated[
        WarpChoice,
        typer.Option(
            help="Which image is resampled, once: the phone's onto the benchtop's lattice, or the benchtop's into the "
            "phone's geometry, which leaves the phone's pixels untouched."
        ),
    ] = WarpChoice.PHONE,
    factor: Annotated[float, typer.Option(help="Label pixels per input pixel, such as 1, 1.5, 2, 2.5, 3.")] = 2.5,
    jpeg_ratio: Annotated[
        float | None,
        typer.Option(help="Send the phone's picture through a JPEG so many times smaller than its 3 bytes a pixel."),
    ] = None,
    white_balance: Annotated[
        str | None,
        typer.Option(
            help="Of all captures: camera, cloudy, daylight, reference (the clear field), or gains like 2.1,1,1.5; "
            "without it as the instrument file given, or the session, says."
        ),
    ] = None,
    crops: Annotated[
        CropsChoice | None,
        typer.Option(help="Which parts of a capture make a pair each: whole, r18 or square (four in the middle)."),
    ] = None,
    search: Annotated[
        bool, typer.Option(help="Search the whole mosaic for captures that have no position or do not lie there.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option(help="Pair file to write; without it beside the session, named after the options.")
    ] = None,
    map_file: Annotated[
        Path | None, typer.Option("--map", metavar="OUT.npz", help="Two images: where the accepted map goes.")
    ] = None,
    moving_pixel_um: Annotated[
        float | None, typer.Option("--moving-pixel-um", min=0.001, max=1000, help="Pixel size of the first image.")
    ] = None,
    fixed_pixel_um: Annotated[
        float | None, typer.Option("--fixed-pixel-um", min=0.001, max=1000, help="Pixel size of the second image.")
    ] = None,
    cluster: Cluster = None,
    workers: Workers = None,
    distortion: Annotated[
        Path | None,
        typer.Option(help="Distortion map of the phone (mobilescope calibrate phone): maps start from it."),
    ] = None,
    json: Json = False,
) -> None:
    """Register sessions' phone captures with their mosaics into pairs, or one image with another.

    Each pair has its quality and a verdict. A capture without a position, or one that does not lie there, is searched
    for in its slide's mosaic. Several sessions, or one with --cluster, are registered on a dask cluster, a local one if
    no address is given: what is done already is skipped, a run that was stopped or killed goes on, and sessions that
    fail are named at the end. Of two images, where the second may be a whole mosaic, the map gives for each pixel of
    the first its row and column in the second; the exit status is 3 where it is refused.

    Example: mobilescope register demo/session.h5 --warp benchtop --json

    Example: mobilescope register monday.h5 tuesday.h5 --cluster tcp://head:8786

    Example: mobilescope register phone.png benchtop.png --moving-pixel-um 0.925 --fixed-pixel-um 0.37 --map map.npz
    """
    known = None
    if distortion is not None:
        from mobilescope.app.pairs.distortion import load_distortion

        known = load_distortion(distortion)
    if _are_images(source):
        ignored = given_options(context, _OF_SESSIONS)
        if ignored:
            raise UserError(
                f"{ignored[0]} is for sessions, and {source[0]} is none", "leave it out; a map goes where --map says"
            )
        _register_images(source[0], source[1], map_file, moving_pixel_um, fixed_pixel_um, known, json=json)
        return
    if map_file is not None or moving_pixel_um is not None or fixed_pixel_um is not None:
        raise UserError("--map and pixel sizes are for two images", "give the second image after the first")
    from mobilescope.app.pairs.asked_development import asked_development, parse_white_balance

    if white_balance is not None:
        parse_white_balance(white_balance)  # what can't be meant is refused before anything is read
    development = partial(
        asked_development, instrument=context.find_root().params.get("config"), white_balance=white_balance,
        crops=None if crops is None else crops.value,
    )
    if len(source) > 1 or cluster is not None:
        if out is not None:
            raise UserError("--out names one pair file", "leave it out: each session's stand beside it")
        variant = {"warp": warp.value, "factor": factor, "jpeg_ratio": jpeg_ratio}
        _register_many(source, cluster, workers, variant, development, known, search=search, json=json)
        return
    if workers is not None:
        raise UserError("--workers is for a cluster", "give --cluster local too")
    from mobilescope.app.pairs.pairing import register_session

    (session,) = source
    how = development(session)
    with showing_warnings(), stoppable() as stop, ProgressDisplay() as progress:
        result = register_session(
            session, warp=warp.value, factor=factor, jpeg_ratio=jpeg_ratio, development=how, out=out,
            search=search, distortion=known, on_progress=progress, stop=stop,
        )
    found = f" ({result.searched} found by searching the mosaic)" if result.searched else ""
    say(f"{result.accepted} pairs accepted{found}, {result.refused} refused: {result.pairs}")
    if json:
        print_json({
            "pairs": str(result.pairs), "accepted": result.accepted, "refused": result.refused,
            "searched": result.searched,
            "warp": warp.value, "factor": factor, "jpeg_ratio": jpeg_ratio,
            "development": how.model_dump(mode="json", exclude_none=True),
        })


def _are_images(given: list[Path]) -> bool:
    """Return whether two images are meant; a session among them is a mistake that is told."""
    from mobilescope.data.recovery import looks_like_hdf5

    if len(given) != 2:
        return False
    sessions = [path for path in given if path.suffix.lower() == ".h5" or (path.is_file() and looks_like_hdf5(path))]
    if len(sessions) == 1:
        raise UserError(f"{sessions[0]} is a session, and the other is none", "give sessions, or two images")
    return not sessions


def _register_many(
    sessions: list[Path], cluster: str | None, workers: int | None, variant: dict[str, Any],
    development: Callable[[Path], DevelopmentConfig], distortion: DistortionMap | None, *, search: bool, json: bool,
) -> None:
    from mobilescope.app.pairs.cluster import LOCAL, opened_cluster
    from mobilescope.app.pairs.scaling import outcome_table, register_sessions

    opening = partial(opened_cluster, cluster or LOCAL, workers, say)
    with showing_warnings(), stoppable() as stop, ProgressDisplay() as progress:
        outcomes = register_sessions(
            sessions, opening, **variant, search=search, development=development, distortion=distortion,
            on_progress=progress, stop=stop,
        )
    for line in outcome_table(outcomes).lines():
        say(line)
    if json:
        print_json({"sessions": [outcome.to_json() for outcome in outcomes], **variant})
    if any(outcome.state == "failed" for outcome in outcomes):
        raise typer.Exit(1)


def _register_images(
    moving: Path, fixed: Path, map_file: Path | None, moving_pixel_um: float | None, fixed_pixel_um: float | None,
    distortion: DistortionMap | None, *, json: bool,
) -> None:
    from mobilescope.app.pairs.registering import register_images

    with showing_warnings(), stoppable() as stop, ProgressDisplay() as progress:
        result = register_images(
            moving, fixed, moving_pixel_um=moving_pixel_um, fixed_pixel_um=fixed_pixel_um, map_file=map_file,
            distortion=distortion, on_progress=progress, stop=stop,
        )
    if result.accepted:
        say(
            f"accepted: right to about {result.residual_px:.3f} px, correlation {result.pearson:.2f}, "
            f"{result.inliers} features agree{'' if map_file is None else f'; map: {map_file}'}"
        )
    else:
        say(f"refused: {result.reason}{'' if map_file is None else '; no map was written'}")
    if json:
        print_json(result.to_json())
    if not result.accepted:
        raise typer.Exit(_REFUSED)
