"""What the server knows of the phone at its page, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from mobilescope.devices.phone_page.clock import ClockReading
from mobilescope.devices.phone_page.messages import CameraReport, Rates


@dataclass(frozen=True)
class PageSnapshot:
    """How things stand at one moment.

    Attributes
    ----------
    phone : str
        Name of the phone that is connected, empty where none is.
    awake : bool
        Whether the page is in front: not behind another one, and the screen not dark.
    pictures, fps : int, float
        Preview pictures decoded so far, and the rate of the last seconds.
    refused : int
        Messages and clients that were refused.
    preview_failure : str
        What went wrong on this computer with the newest preview picture; empty where nothing did.
    warning : str
        What has changed that should not, such as a phone that was turned; empty where nothing has.
    """

    phone: str = ""
    awake: bool = False
    camera: CameraReport | None = None
    camera_failure: str = ""
    rates: Rates | None = None
    clock: ClockReading | None = None
    pictures: int = 0
    fps: float = 0.0
    stills: int = 0
    refused: int = 0
    last_refusal: str = ""
    preview_failure: str = ""
    warning: str = ""
    paired: int = 0

    def why_no_still(self) -> str:
        """Return what keeps the phone from taking a picture, as a sentence's beginning; empty where nothing does."""
        if not self.phone:
            return "no phone is connected to the page"
        if self.camera_failure:
            return f"the camera of {self.phone} can't be used: {self.camera_failure}"
        if not self.awake:
            return f"{self.phone} is asleep, or shows another page"
        return ""


def change_of(first: CameraReport | None, now: CameraReport) -> str:
    """Return what a person should know of a camera that no longer takes pictures as it did; empty where it does."""
    if first is None:
        return ""
    before, after = (first.still_width, first.still_height), (now.still_width, now.still_height)
    if before == after:
        return ""
    if before == after[::-1]:
        return f"The phone was turned: its stills are {after[0]}x{after[1]} now. Turn it back."
    return f"The resolution changed: stills are {after[0]}x{after[1]} now, they were {before[0]}x{before[1]}."
