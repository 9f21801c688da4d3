"""The benchtop's light: a shutter that opens for each exposure or stays open, and a lamp behind it."""

from __future__ import annotations

from mobilescope.devices.micromanager.link import CoreLink


class Lamp:
    """Shutter and lamp of a Micro-Manager configuration; dark again after `rest`.

    Parameters
    ----------
    shutter, light : str
        Labels of the devices; empty where Micro-Manager controls none.
    automatic : bool
        Whether the core opens the shutter for each exposure; otherwise it is open from the first picture to the end.
    on, off : str, optional
        ``Property=value`` that switches ``light``; without them it is opened and closed as a shutter is.
    """

    def __init__(
        self, link: CoreLink, *, shutter: str, automatic: bool, light: str, on: str | None, off: str | None
    ) -> None:
        self._link, self._shutter, self._automatic, self._light = link, shutter, automatic, light
        self._on, self._off = on, off
        self._is_ready = False

    def ready(self) -> str:
        """Have light for the next exposure; return its name for the record."""
        if not self._is_ready:
            # Set first, so that what was half done is undone at the end.
            self._is_ready = True
            if self._light:
                self._switch_light(True)
            if self._shutter:
                self._link.call("choose the shutter", "set_shutter_device", self._shutter)
                self._link.call("set the automatic shutter", "set_auto_shutter", self._automatic)
                if not self._automatic:
                    self._link.call("open the shutter", "set_shutter_open", self._shutter, True)
        known = " and ".join(label for label in (self._light, self._shutter) if label)
        return f"Micro-Manager {known}" if known else "a lamp that Micro-Manager does not control"

    def rest(self) -> None:
        """Close the shutter and switch the lamp off; both are tried whatever happens to the other."""
        if not self._is_ready:
            return
        try:
            if self._shutter:
                self._link.call("close the shutter", "set_shutter_open", self._shutter, False)
        finally:
            if self._light:
                self._switch_light(False)
        self._is_ready = False

    def forget(self) -> None:
        """Take the light for unknown, so that it is set again before the next picture."""
        self._is_ready = False

    def _switch_light(self, on: bool) -> None:
        what = f"switch {self._light} {'on' if on else 'off'}"
        setting = self._on if on else self._off
        if setting is None:
            self._link.call(what, "set_shutter_open", self._light, on)
        else:
            name, _, value = setting.partition("=")
            self._link.call(what, "set_property", self._light, name.strip(), value.strip())
        self._link.call(what, "wait_for_device", self._light)
