"""The one exception tree: each error says what happened and what to do about it."""


class MobilescopeError(Exception):
    """Base of every error that the library raises on purpose.

    Parameters
    ----------
    cause : str
        What is wrong and where (file, key, value, device).
    remedy : str
        What the user can do about it; may be empty where nothing can be done.

    ``exit_status`` is what the command line ends with: 1 where something failed on the way.
    """

    exit_status = 1

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause, remedy)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        """Return cause and remedy on one line."""
        return f"{self.cause}; {self.remedy}" if self.remedy else self.cause


class UserError(MobilescopeError):
    """What can't be done as asked, until the user mends the command, a file or a plan: exit status 2."""

    exit_status = 2


class ConfigError(UserError):
    """A configuration or plan file that is missing, malformed or has an unknown key."""


class InputFileError(UserError):
    """A file that is missing, truncated, of a foreign format or not readable."""


class ForeignFileError(InputFileError):
    """A file that may be whole, but is not of the kind that was asked for."""


class InputImageError(UserError):
    """An image of the wrong size, type or content."""


class NewerVersionError(UserError):
    """A file written by a newer version of this software."""


class ModelKindError(UserError):
    """A checkpoint that does not hold the kind of model asked for."""


class OutputError(UserError):
    """An output that can't be written where the user asked for it."""


class PlanError(UserError):
    """A plan that can't be carried out as it stands (no slides, overlapping roles)."""


class DiskSpaceError(MobilescopeError):
    """Too little room on the disk to start, or to go on."""


class DeviceError(MobilescopeError):
    """A device that failed, timed out or answered nonsense."""


class LimitError(DeviceError, UserError):
    """A move that would leave the range of the stage; refused before it started."""


class LinkError(DeviceError):
    """A board that does not answer, or not as the protocol says."""


class LinkLostError(LinkError):
    """A connection that is gone: the cable was pulled, or the port vanished."""


class PortError(UserError):
    """A port that is missing, busy or may not be opened."""


class FirmwareVersionError(UserError):
    """A board's firmware and this software that do not speak the same protocol."""


class RefusedError(UserError):
    """A command that the board refused; the light is as it was.

    ``status`` is the code of the protocol's table, ``data`` what the board sent with it.
    """

    def __init__(self, cause: str, remedy: str = "", *, status: int, data: bytes = b"") -> None:
        super().__init__(cause, remedy)
        self.status = status
        self.data = data


class SessionError(MobilescopeError):
    """A session that can't be read or written as asked."""


class SessionLockedError(UserError):
    """A session that another process is writing."""


class StitchingError(MobilescopeError):
    """Tiles that could not be placed with confidence."""


class RegistrationError(MobilescopeError):
    """Two images that could not be brought into register."""


class MirroredError(RegistrationError):
    """Two images that are mirror images of each other."""


class ClusterError(MobilescopeError):
    """A cluster that can't be reached, or that lost what was worked on."""


class CalibrationError(MobilescopeError):
    """A calibration whose measurements do not support it; nothing was written."""


class TrainingError(MobilescopeError):
    """Training that diverged, or that needs more memory than there is."""


class CancelledError(MobilescopeError):
    """Work stopped on request; what was finished is kept."""

    exit_status = 130
