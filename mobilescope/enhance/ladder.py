"""The quality ladder: ways to enhance a live frame, and the best of them that holds the frame rate."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import UserError
from mobilescope.enhance.colour_rung import BicubicColour
from mobilescope.enhance.live_values import Enhanced, Picture, Region
from mobilescope.enhance.rung_controller import Rung, RungChange, RungController

Network = Callable[[Picture], NDArray[np.generic]]
Part = Callable[[Picture, Region], NDArray[np.generic]]

# The colour rung learns from this many frames, a crop of this side in one corner of each.
_LESSONS = 4
_LESSON_PX = 160


@dataclass(frozen=True)
class LadderStatus:
    """Where the ladder stands.

    Attributes
    ----------
    asked_for : Rung or None
        The rung that was demanded; None where the ladder chooses.
    available : tuple of Rung
        Those that it can choose from, the best first.
    took_ms : dict
        What a frame took on each rung when it was last tried.
    """

    rung: Rung
    reason: str
    asked_for: Rung | None
    available: tuple[Rung, ...]
    region: Region | None
    took_ms: dict[Rung, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Wish:
    rung: Rung | None
    region: Region | None


class Ladder:
    """Enhances frames on the rung that its controller picks; an `Enhance` of the live pipeline.

    Parameters
    ----------
    full : callable
        The network: a uint8 picture in, one ``factor`` times larger out.
    part : callable, optional
        The network on a region of a picture with what surrounds it in view; without it the region is cut out first,
        and its rim is enhanced as a picture's edge is.
    distilled : callable, optional
        A small network of the same factor.
    region : Region, optional
        What the rung ``region`` looks at. Without one it is only taken on demand, and looks at the middle.
    rung : Rung, optional
        Stay on this one.
    on_change : callable, optional
        Told of each step, from the thread that enhances.

    A stream may change its size. A region that leaves the new picture is let go, and ``on_change`` told; only one that
    leaves the very first picture is the user's mistake.
    """

    def __init__(
        self,
        full: Network,
        *,
        factor: float,
        frames_per_s: float,
        part: Part | None = None,
        distilled: Network | None = None,
        region: Region | None = None,
        rung: Rung | None = None,
        on_change: Callable[[RungChange], None] | None = None,
    ) -> None:
        self._full, self._distilled = full, distilled
        self._part: Part = part or (lambda picture, region: full(region.of(picture)))
        self._colour = BicubicColour(factor)
        self._rate = frames_per_s
        self._on_change = on_change
        self._lock = Lock()
        self._took_s: dict[Rung, float] = {}
        self._wish = _Wish(None, region)
        self.demand(rung)
        self._granted = self._wish
        self._begun = False
        self._controller = self._controller_for(self._wish)

    def demand(self, rung: Rung | None) -> None:
        """Stay on a rung from the next frame on, or choose again; UserError for one that can't be had."""
        if rung is Rung.DISTILLED and self._distilled is None:
            raise UserError(
                "there is no small network to run",
                "give one with --fast-model (mobilescope train --distil makes it)",
            )
        with self._lock:
            self._wish = _Wish(rung, self._wish.region)

    def look_at(self, region: Region | None) -> None:
        """Choose the region from the next frame on."""
        with self._lock:
            self._wish = _Wish(self._wish.rung, region)

    def status(self) -> LadderStatus:
        """Return where the ladder stands."""
        with self._lock:
            wish, controller = self._granted, self._controller
        return LadderStatus(
            rung=controller.rung,
            reason="asked for" if wish.rung is not None else controller.reason,
            asked_for=wish.rung,
            available=self._available(wish),
            region=wish.region,
            took_ms={rung: took_s * 1e3 for rung, took_s in (self._took_s | controller.took_s).items()},
        )

    def __call__(self, picture: Picture) -> Enhanced:
        """Enhance a frame; UserError where the region leaves the first one."""
        with self._lock:
            let_go = self._let_go(picture)
            if self._wish != self._granted:
                self._took_s |= self._controller.took_s
                self._granted, self._controller = self._wish, self._controller_for(self._wish)
            wish, controller = self._granted, self._controller
        if let_go is not None and self._on_change is not None:
            self._on_change(let_go)
        if self._colour.lessons < _LESSONS:
            self._teach(picture)
        started_s = time.monotonic()
        enhanced = self._on_rung(controller.rung, picture, wish.region)
        now_s = time.monotonic()
        with self._lock:
            change = controller.observe(now_s - started_s, now_s)
        if change is not None and self._on_change is not None:
            self._on_change(change)
        return enhanced

    def _let_go(self, picture: Picture) -> RungChange | None:
        """Let a region go that leaves a picture, at once and not when the ladder first steps onto its rung."""
        region, first, self._begun = self._wish.region, not self._begun, True
        try:
            if region is not None:
                region.of(picture)
        except UserError as error:
            if first:
                raise
            before = self._controller.rung
            self._wish = _Wish(self._wish.rung, None)
            return RungChange(before, self._controller_for(self._wish).rung, f"{error.cause}; it was let go")
        return None

    def _on_rung(self, rung: Rung, picture: Picture, region: Region | None) -> Enhanced:
        whole = Region.whole(picture.shape)
        if rung is Rung.REGION:
            looked_at = region or Region.centre_half(picture.shape)
            return Enhanced(_bytes(self._part(picture, looked_at)), looked_at, rung)
        if rung is Rung.DISTILLED and self._distilled is not None:
            return Enhanced(_bytes(self._distilled(picture)), whole, rung)
        if rung is Rung.COLOUR:
            return Enhanced(self._colour(picture), whole, rung)
        return Enhanced(_bytes(self._full(picture)), whole, rung)

    def _teach(self, picture: Picture) -> None:
        """Let the colour rung see what the network makes of one corner of the picture, another one each time."""
        down, across = divmod(self._colour.lessons, 2)
        rows, columns = (min(size, _LESSON_PX) for size in picture.shape[:2])
        corner = Region((picture.shape[0] - rows) * down, (picture.shape[1] - columns) * across, rows, columns)
        self._colour.learn(corner.of(picture), _bytes(self._full(corner.of(picture))))

    def _available(self, wish: _Wish) -> tuple[Rung, ...]:
        missing = {
            Rung.REGION: wish.region is None,
            Rung.DISTILLED: self._distilled is None,
        }
        return tuple(rung for rung in Rung if not missing.get(rung, False))

    def _controller_for(self, wish: _Wish) -> RungController:
        return RungController(self._available(wish) if wish.rung is None else (wish.rung,), self._rate)


def _bytes(picture: NDArray[np.generic]) -> Picture:
    return np.asarray(picture, dtype=np.uint8)
