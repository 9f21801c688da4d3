"""The channels of a scan: the microscope's own where it has some, otherwise colours of the ring."""

from __future__ import annotations

from mobilescope.app.instruments.instrument import Instruments
from mobilescope.core.protocols import ChannelSwitch, Illuminator


class RingChannels:
    """Channels that are colours of the illumination ring. Implements `ChannelSwitch`."""

    def __init__(self, light: Illuminator) -> None:
        self._light = light

    def refusal(
        self, name: str, exposure_ms: float | None, colour: tuple[int, int, int] | None, brightness: float
    ) -> str:
        """Return why a channel can't be had: it needs a colour, and the camera's exposure is fixed."""
        if colour is None:
            return "the light is the ring, and this channel has no colour = [red, green, blue]"
        if exposure_ms is not None:
            return "exposure_ms can't be set on this microscope; use brightness"
        return ""

    def select(
        self, name: str, exposure_ms: float | None, colour: tuple[int, int, int] | None, brightness: float
    ) -> None:
        """Show the channel's colour."""
        if colour is not None:
            self._light.set_colour(*colour, brightness)

    def rest(self) -> None:
        """Switch the ring off."""
        self._light.off()


def channel_switch(instruments: Instruments) -> ChannelSwitch:
    """Return what changes the channels of these instruments."""
    if isinstance(instruments.benchtop, ChannelSwitch):
        return instruments.benchtop
    return RingChannels(instruments.light)
