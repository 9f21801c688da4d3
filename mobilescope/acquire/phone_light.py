"""Dark frames and a clear field of a phone scope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilescope.acquire.capture import captured, set_light
from mobilescope.core.errors import DeviceError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import PhoneCamera, PhoneCapture
from mobilescope.imaging.halving import halved_light
from mobilescope.imaging.jpeg import decompress
from mobilescope.plans.field_lights import FieldLight

_DARK = FieldLight(name="dark", pattern="dark")
_WHITE = FieldLight(name="white")


@dataclass(frozen=True, eq=False)
class LightFrames:
    """Means of pictures in the dark and over clear glass, see `PhoneLight`, and the last capture of the latter."""

    dark: NDArray[np.float32]
    clear: NDArray[np.float32]
    last: PhoneCapture


def take_light_frames(
    phone: PhoneCamera,
    blank_slide: str,
    *,
    frames: int,
    on_progress: ProgressListener = ignore_progress,
    stop: StopToken | None = None,
) -> LightFrames:
    """Take dark frames, then as many of a clear slide in white; the light goes off whatever happens.

    Raises
    ------
    CancelledError
        When asked to stop.
    DeviceError
        The dark was not dark, the clear field not lit, or some pictures are raw and others are not.
    """
    stop = stop or StopToken()
    phone.mount(blank_slide)
    means: dict[str, NDArray[np.float32]] = {}
    last: PhoneCapture | None = None
    try:
        for number, light in enumerate((_DARK, _WHITE)):
            set_light(phone.illuminator, light)
            total: NDArray[np.float32] | None = None
            for taken in range(frames):
                stop.raise_if_requested("the calibration of the light", "nothing was written")
                before = last
                last = captured(phone, light, 0.0, 0.0, f"the {'dark' if light.is_dark else 'clear'} field")
                if before is not None and (before.bayer is None) != (last.bayer is None):
                    raise DeviceError(
                        "the phone gave raw pictures and JPEGs in turn", "set its camera to save the same for each"
                    )
                total = _added(total, last)
                on_progress(Progress("calibrate light", number * frames + taken + 1, 2 * frames, light.name))
            assert total is not None
            total /= np.float32(frames)
            means[light.name] = total
    finally:
        phone.illuminator.off()
    assert last is not None
    return LightFrames(means["dark"], means["white"], last)


def _added(total: NDArray[np.float32] | None, capture: PhoneCapture) -> NDArray[np.float32]:
    """Return a sum with one more picture: counts of a raw one, halved linear light of a JPEG."""
    seen = halved_light(decompress(capture.jpeg)) if capture.bayer is None else capture.bayer
    return seen.astype(np.float32) if total is None else np.add(total, seen, out=total)
