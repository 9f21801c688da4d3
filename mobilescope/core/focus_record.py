"""What an autofocus run reports: its verdict and the curve that the verdict rests on."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CURVE_SAMPLES = 64


@dataclass(frozen=True)
class FocusRecord:
    """One focus search, or the reason why none was made.

    Attributes
    ----------
    verdict : str
        What the search concluded, for example ``"focused"`` or ``"surface"``.
    z_um : float
        The focus drive position that was chosen.
    score : float
        The best score of the search, in the units of the measure that was used.
    curve_z_um, curve_score : tuple of float, at most 64 samples each
        Positions tried, and their scores. Any sequence or 1-D array is accepted.
    images_taken : int
        Frames that the search cost.
    seconds : float
        Time that the search took.
    """

    verdict: str
    z_um: float
    score: float
    curve_z_um: tuple[float, ...] = ()
    curve_score: tuple[float, ...] = ()
    images_taken: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Turn arrays into tuples; refuse curves of unequal or too great length."""
        object.__setattr__(self, "curve_z_um", tuple(float(value) for value in self.curve_z_um))
        object.__setattr__(self, "curve_score", tuple(float(value) for value in self.curve_score))
        if len(self.curve_z_um) != len(self.curve_score):
            raise ValueError(f"a focus curve has {len(self.curve_z_um)} positions but {len(self.curve_score)} scores")
        if len(self.curve_z_um) > MAX_CURVE_SAMPLES:
            raise ValueError(f"a focus curve holds at most {MAX_CURVE_SAMPLES} samples, got {len(self.curve_z_um)}")
