"""The enhanced preview that a phone's page shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mobilescope.app.enhancement.live import live_run

if TYPE_CHECKING:
    from mobilescope.app.enhancement.live import LiveOptions, LiveRun
    from mobilescope.devices.phone_page.server import PhonePageServer
    from mobilescope.enhance.live_values import LivePicture, Picture

_SENT_WIDTH = 1280
_SENT_QUALITY = 80


@contextmanager
def enhanced_for_the_phone(page: PhonePageServer, options: LiveOptions) -> Iterator[LiveRun]:
    """Enhance the phone's preview as `mobilescope live` does, and send each picture back to the page."""
    from mobilescope.enhance.live_words import NOT_FOR_DIAGNOSIS
    from mobilescope.enhance.rung_controller import RUNG_TITLES, Rung
    from mobilescope.imaging.jpeg import compress

    runs: list[LiveRun] = []

    def send(picture: LivePicture) -> None:
        verdict = runs[0].pipeline.snapshot().verdict if runs else None
        enhanced = picture.enhanced
        page.hub.show_enhanced(
            compress(_for_a_phone(enhanced.pixels), _SENT_QUALITY), picture.frame,
            method=RUNG_TITLES[Rung(enhanced.method)], region=str(enhanced.region), note=NOT_FOR_DIAGNOSIS,
            trust="not judged yet" if verdict is None else verdict.state,
        )

    page.hub.enhances()
    with live_run(options, show=send, opened=page.hub.frames()) as run:
        runs.append(run)
        yield run


def _for_a_phone(picture: Picture) -> Picture:
    """Return a picture no wider than a phone's screen can show."""
    from mobilescope.imaging.shrinking import shrink

    rows, columns = picture.shape[:2]
    if columns <= _SENT_WIDTH:
        return picture
    return shrink(picture, _SENT_WIDTH, max(1, round(rows * _SENT_WIDTH / columns)))
