"""The phone scope's light as an instrument file describes it: a real ring, or the firmware in a simulator."""

from __future__ import annotations

from contextlib import ExitStack

from mobilescope.app.firmware.simulating import Simulation, simulated_ring
from mobilescope.core.closing import Closing
from mobilescope.core.config import RingConfig
from mobilescope.core.protocols import LightState
from mobilescope.core.ring_protocol import Setting
from mobilescope.devices.ring import Ring
from mobilescope.plans.illumination import Pattern

_DARK = LightState(on=False, red=0, green=0, blue=0, brightness=0.0, source="ring, not opened")


class RingLight(Closing):
    """The ring of an instrument, opened when it is first lit and dark again when closed. A `PatternIlluminator`."""

    def __init__(self, config: RingConfig) -> None:
        self._config = config
        self._stack = ExitStack()
        self._ring: Ring | None = None

    def set_colour(self, red: int, green: int, blue: int, brightness: float = 1.0) -> None:
        """Light the whole ring."""
        self._opened().set_colour(red, green, blue, brightness)

    def show(self, pattern: Pattern) -> None:
        """Show a pattern; pixels outside it are dark."""
        self._opened().show(pattern)

    def off(self) -> None:
        """Switch the light off; a ring that was never opened is left alone."""
        if self._ring is not None:
            self._ring.off()

    def state(self) -> LightState:
        """Return what the ring shows."""
        return _DARK if self._ring is None else self._ring.state()

    def close(self) -> None:
        """Switch off, free the port and end the simulator."""
        self._ring = None
        self._stack.close()

    def _opened(self) -> Ring:
        if self._ring is None:
            simulated = self._config.kind == "simulated"
            port = self._stack.enter_context(simulated_ring(Simulation())).port if simulated else self._config.port
            ring = self._stack.enter_context(Ring.open(port))
            ring.configure(Setting.SUPPLY_MA, self._config.supply_ma)
            self._ring = ring
        return self._ring
