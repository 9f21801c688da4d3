"""A phone's clock against this computer's, as far as pictures tell: neither has to be right.

A picture that was asked for at P and had arrived at A was taken in between. With the phone's own word T, the
difference of the clocks lies between P - T and A - T; each picture narrows that.
"""

from __future__ import annotations

import math

# Times in files are whole seconds, if no fraction is written.
_GRAIN_S = 1.0


class PhoneClock:
    """What is known of the difference between both clocks, this computer's less the phone's, in seconds."""

    def __init__(self) -> None:
        self._least_s, self._most_s = -math.inf, math.inf

    def heard(self, told_s: float, asked_s: float, arrived_s: float) -> None:
        """Learn from a picture that was taken when asked for; a clock that was set anew begins anew."""
        least_s, most_s = asked_s - told_s - _GRAIN_S, arrived_s - told_s + _GRAIN_S
        if least_s > self._most_s or most_s < self._least_s:
            self._least_s, self._most_s = least_s, most_s
        else:
            self._least_s, self._most_s = max(least_s, self._least_s), min(most_s, self._most_s)

    def surely_before(self, told_s: float, moment_s: float) -> bool:
        """Tell whether a picture was taken before a moment of this computer's clock, whatever is unknown."""
        return told_s + _GRAIN_S + self._most_s < moment_s
