"""Motorised stages that speak Grbl 1.1 or Sangaboard, and a stage that a person moves."""

from mobilescope.devices.stages.grbl import GrblController
from mobilescope.devices.stages.manual import ManualStage
from mobilescope.devices.stages.motion import MotionController, StageIdentity
from mobilescope.devices.stages.motor_stage import MotorStage
from mobilescope.devices.stages.sangaboard import SangaboardController

__all__ = [
    "GrblController", "ManualStage", "MotionController", "MotorStage", "SangaboardController", "StageIdentity",
]
