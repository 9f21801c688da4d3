"""Benchtop microscopes on Micro-Manager's demo devices, with the core of this process or behind the wire protocol."""

from __future__ import annotations

from contextlib import contextmanager

from java_process import JavaProcess

from mobilescope.core.config import BenchtopConfig
from mobilescope.devices.micromanager import JavaCore, PythonCore, demo_configuration
from mobilescope.devices.micromanager.benchtop import MicroManagerBenchtop

COLOUR = {"Camera.PixelType": "32bitRGB", "Camera.Mode": "Color Test Pattern"}
# What the tests change of the demo camera, as its configuration has it.
USUAL = {
    "PixelType": "16bit", "Mode": "Artificial Waves", "BitDepth": "16", "Binning": "1",
    "OnCameraCCDXSize": "512", "OnCameraCCDYSize": "512",
}


def reset(link):
    """Set the demo devices back to how their configuration has them."""
    if link.call("look", "is_sequence_running"):
        link.call("stop", "stop_sequence_acquisition")
    for name, value in USUAL.items():
        link.call("reset", "set_property", "Camera", name, value)
    link.call("reset", "clear_roi")
    link.call("reset", "set_exposure", "Camera", 10.0)
    link.call("reset", "set_property", "Objective", "Label", "Nikon 10X S Fluor")
    link.call("reset", "set_shutter_device", "White Light Shutter")
    link.call("reset", "set_auto_shutter", True)
    link.call("reset", "set_channel_group", "Channel")
    link.call("reset", "set_xy_position", "XY", 0.0, 0.0)


def demo_config(backend="python", *, frame_px=None, properties=None, **keys):
    """Return a table [benchtop] for the demo devices, in colour unless ``properties`` says otherwise."""
    sizes = {} if frame_px is None else {"Camera.OnCameraCCDXSize": frame_px, "Camera.OnCameraCCDYSize": frame_px}
    usual = {
        "configuration": demo_configuration(), "exposure_ms": 1.0, "properties": COLOUR | sizes | (properties or {}),
    }
    return BenchtopConfig(kind="micromanager", backend=backend, **(usual | keys))


def no_question(slide):
    """Put a slide under the objective without a word."""


@contextmanager
def demo_link(backend, *, timeout_s=10.0):
    """Yield a link to demo devices as their configuration has them."""
    if backend == "python":
        link = PythonCore(demo_configuration())
        reset(link)
        try:
            yield link
        finally:
            reset(link)
        return
    server = JavaProcess()
    link = JavaCore(port=server.port, timeout_s=timeout_s)
    try:
        yield link
    finally:
        link.close()
        server.close()


@contextmanager
def demo_benchtop(backend="python", *, calibration=None, ask_mount=no_question, **keys):
    """Yield a microscope on the demo devices."""
    with demo_link(backend) as link:
        config = demo_config(backend, **keys)
        microscope = MicroManagerBenchtop(link, config, calibration=calibration, ask_mount=ask_mount)
        yield microscope
        microscope.close()
