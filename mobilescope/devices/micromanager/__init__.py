"""Micro-Manager through pycro-manager: links to a core of either backend, and the stage.

The whole microscope stands in `benchtop`, which takes longer to import.
"""

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
    "MicroManagerStage",
    "PythonCore",
    "StageLimits",
    "demo_configuration",
]
