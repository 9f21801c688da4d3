"""Micro-Manager through pycro-manager: links to a core of either backend, the stage, and the whole microscope."""

from mobilescope.devices.micromanager.benchtop import MicroManagerBenchtop
from mobilescope.devices.micromanager.java_core import DEFAULT_HOST, DEFAULT_PORT, JavaCore
from mobilescope.devices.micromanager.link import CoreLink
from mobilescope.devices.micromanager.python_core import DEFAULT_TIMEOUT_S, PythonCore, demo_configuration
from mobilescope.devices.micromanager.stage import MicroManagerStage, StageLimits

__all__ = [
    "DEFAULT_HOST",
    "DEFAULT_PORT",
    "DEFAULT_TIMEOUT_S",
    "CoreLink",
    "JavaCore",
    "MicroManagerBenchtop",
    "MicroManagerStage",
    "PythonCore",
    "StageLimits",
    "demo_configuration",
]
