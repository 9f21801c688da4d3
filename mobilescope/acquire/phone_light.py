"""Dark frames and a clear field of a phone scope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mobilescope.acquire.capture import captured, set_light
from mobilescope.core.errors import UserError
from mobilescope.core.progress import Progress, ProgressListener, StopToken, ignore_progress
from mobilescope.core.protocols import PhoneCamera, PhoneCapture
from mobilescope.plans.field_lights import FieldLight

_DARK = FieldLight(name="dark", pattern="dark")
_WHITE = FieldLight(name="white")


@dataclass(frozen=True, eq=False)
class LightFrames:
    """Means of raw frames in the dark and over clear glass, counts, and the last capture of the latter."""

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
        The dark was not dark, or the clear field not lit.
    UserError
        The phone gives no raw frames.
    """
    stop = stop or StopToken()
    phone.mount(blank_slide)
    means, last = {}, None
    try:
        for number, light in enumerate((_DARK, _WHITE)):
            set_light(phone.illuminator, light)
            total = np.zeros(phone.frame_shape, dtype=np.float32)
            for taken in range(frames):
                stop.raise_if_requested("the calibration of the light")
                last = captured(phone, light, 0.0, 0.0, f"the {'dark' if light.is_dark else 'clear'} field")
                if last.bayer is None:
                    raise UserError(
                        "this phone gives no raw pictures", "its defects and light can't be told from JPEGs"
                    )
                total += last.bayer
                on_progress(Progress("calibrate light", number * frames + taken + 1, 2 * frames, light.name))
            means[light.name] = total / np.float32(frames)
    finally:
        phone.illuminator.off()
    assert last is not None
    return LightFrames(means["dark"], means["white"], last)
