"""Micro-Manager's channels: the presets of its channel group, each with an exposure of its own."""

from __future__ import annotations

from mobilescope.core.errors import ConfigError
from mobilescope.devices.micromanager.camera import MicroManagerCamera
from mobilescope.devices.micromanager.link import CoreLink


class Channels:
    """The presets of one configuration group, as channels of a scan; fills `ChannelSwitch` for the microscope.

    Parameters
    ----------
    group : str, optional
        The configuration group, Micro-Manager's own channel group unless given.

    Raises
    ------
    ConfigError
        There is no such group.
    """

    def __init__(self, link: CoreLink, camera: MicroManagerCamera, group: str | None) -> None:
        self._link, self._camera = link, camera
        groups = [str(name) for name in link.call("list its configuration groups", "get_available_config_groups")]
        if group is not None and group not in groups:
            raise ConfigError(
                f"benchtop.channel_group: {link.name} has no group {group!r}", f"it has {', '.join(groups) or 'none'}"
            )
        self._group = group or str(link.call("name its channel group", "get_channel_group"))
        self._usable = self._group in groups
        self._before: str | None = None
        self._current = ""
        self._exposure_ms: float | None = None

    @property
    def current(self) -> str:
        """The channel that was selected last; empty before the first and after `rest`."""
        return self._current

    def refusal(
        self, name: str, exposure_ms: float | None, colour: tuple[int, int, int] | None, brightness: float
    ) -> str:
        """Return why a channel can't be had, empty where it can."""
        if not self._usable:
            return f"{self._link.name} has no channel group; choose one with benchtop.channel_group"
        presets = [str(preset) for preset in self._link.call("list its channels", "get_available_configs", self._group)]
        if name not in presets:
            return f"the group {self._group} has no preset of this name, it has {', '.join(presets) or 'none'}"
        if colour is not None or brightness != 1:
            return f"colour and brightness are the ring's; here the preset of {self._group} says what lights up"
        return ""

    def select(self, name: str, exposure_ms: float | None) -> None:
        """Switch to a preset, wait until its devices are there, and set the exposure, the usual one unless given."""
        if self._before is None:
            self._before = str(self._link.call("name the channel", "get_current_config", self._group))
        self._link.call(f"switch to channel {name}", "set_config", self._group, name)
        self._link.call(f"wait for channel {name}", "wait_for_config", self._group, name)
        self._camera.expose(exposure_ms)
        self._current, self._exposure_ms = name, exposure_ms

    def renew(self) -> None:
        """Select the channel again, after a connection was made anew."""
        if self._current:
            self.select(self._current, self._exposure_ms)

    def rest(self) -> None:
        """Go back to the channel and the exposure from before the first one was selected. May be called twice."""
        if self._before is None:
            return
        before, self._before, self._current = self._before, None, ""
        self._camera.expose(None)
        # Empty where the devices stood as no preset has them: there is none to go back to.
        if before:
            self._link.call(f"go back to channel {before}", "set_config", self._group, before)
            self._link.call(f"wait for channel {before}", "wait_for_config", self._group, before)
