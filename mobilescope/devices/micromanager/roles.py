"""Which device does what, and the properties that are set at the start: both checked against what is loaded."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

from mobilescope.core.config import BenchtopConfig, Scalar
from mobilescope.core.errors import ConfigError
from mobilescope.devices.micromanager.link import CoreLink

# Micro-Manager has no role for the nosepiece; this is the label that its configurations give it.
_USUAL_OBJECTIVE = "Objective"


@dataclass(frozen=True)
class Roles:
    """Labels of the devices; empty where there is none."""

    camera: str
    xy_stage: str
    focus: str
    autofocus: str
    objective: str
    shutter: str
    light: str


def find_roles(link: CoreLink, config: BenchtopConfig) -> Roles:
    """Return the devices that the instrument file names, and the core's own choice for the others.

    Raises
    ------
    ConfigError
        A named device is not loaded, which brings the list of those that are; or camera, stage or focus is missing.
    """
    loaded = loaded_devices(link)

    def role(name: str, method: str | None, usual: str = "") -> str:
        named = getattr(config, name)
        if named is not None:
            if named not in loaded:
                raise ConfigError(
                    f"benchtop.{name}: {link.name} has no device {named!r}", f"it has loaded {', '.join(loaded)}"
                )
            return str(named)
        if method is None:
            return usual if usual in loaded else ""
        return str(link.call(f"name its {name} device", method) or "")

    roles = Roles(
        camera=role("camera", "get_camera_device"),
        xy_stage=role("xy_stage", "get_xy_stage_device"),
        focus=role("focus", "get_focus_device"),
        autofocus=role("autofocus", "get_auto_focus_device"),
        objective=role("objective", None, _USUAL_OBJECTIVE),
        shutter=role("shutter", "get_shutter_device"),
        light=role("light", None),
    )
    for name in ("camera", "xy_stage", "focus"):
        if not getattr(roles, name):
            raise ConfigError(
                f"{link.name} has no default {name} device",
                f"name it in the instrument file, benchtop.{name}; it has loaded {', '.join(loaded)}",
            )
    return roles


def loaded_devices(link: CoreLink) -> list[str]:
    """Return the labels of the devices that are loaded, without the core itself."""
    return [str(label) for label in link.call("list its devices", "get_loaded_devices") if label != "Core"]


def set_properties(link: CoreLink, properties: Mapping[str, Scalar | Mapping[str, Scalar]]) -> None:
    """Set properties and read each back.

    Parameters
    ----------
    properties : mapping
        ``{"Camera.PixelType": "32bitRGB"}`` or ``{"Camera": {"PixelType": "32bitRGB"}}``: TOML makes the second of
        a key without quotes.

    Raises
    ------
    ConfigError
        An unknown device or property, a value that is not allowed, or one that the device did not take.
    """
    loaded = [*loaded_devices(link), "Core"]
    for key, value in properties.items():
        if isinstance(value, Mapping):
            for name, inner in value.items():
                _set(link, loaded, key, name, inner)
            continue
        # Labels may hold points themselves.
        device = max((label for label in loaded if key.startswith(f"{label}.")), key=len, default=key.split(".")[0])
        _set(link, loaded, device, key[len(device) + 1 :], value)


def _set(link: CoreLink, loaded: list[str], device: str, name: str, value: Scalar) -> None:
    where = f"benchtop.properties: {device}.{name}"
    if device not in loaded:
        raise ConfigError(f"{where}: {link.name} has no device {device!r}", f"it has loaded {', '.join(loaded)}")
    if not link.call("look for a property", "has_property", device, name):
        names = link.call("list properties", "get_device_property_names", device)
        raise ConfigError(f"{where}: {device} has no property {name!r}", f"it has {', '.join(names)}")
    if link.call("look at a property", "is_property_read_only", device, name):
        raise ConfigError(f"{where} can only be read", "remove it")
    text = str(int(value)) if isinstance(value, bool) else str(value)
    allowed = link.call("list values", "get_allowed_property_values", device, name)
    if allowed and text not in allowed:
        raise ConfigError(f"{where} can't be {text!r}", f"allowed are {', '.join(allowed)}")
    link.call(f"set {device}.{name} to {text}", "set_property", device, name, text)
    link.call(f"wait for {device}", "wait_for_device", device)
    taken = str(link.call(f"read {device}.{name}", "get_property", device, name))
    if not _same(taken, text):
        raise ConfigError(f"{where} was set to {text} and reads {taken}", "give a value that the device takes")


def _same(taken: str, wanted: str) -> bool:
    if taken == wanted:
        return True
    with contextlib.suppress(ValueError):
        return math.isclose(float(taken), float(wanted), rel_tol=1e-3, abs_tol=1e-4)
    return False
