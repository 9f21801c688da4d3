"""The measured offset of two neighbouring tiles, and what the pairs around it say of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class PairShift:
    """The measured offset of one tile against a neighbour.

    Attributes
    ----------
    offset_px : tuple of float
        (row, column) of the second tile's pixel (0, 0) in the first tile's frame; the nominal one where nothing
        was found.
    correlation : float
        Pearson correlation of the flattened overlap after the shift, -1 to 1.
    error_px : float
        Standard error of the offset along its worse direction; the search's radius where nothing was found.
    accepted : bool
        Whether the layout may lean on this pair.
    reason : str
        Why it was refused; empty for an accepted pair.
    undecided : bool
        Whether there is something to see that fits at other offsets nearly as well, since it repeats itself or has
        next to no slope.
    """

    first: int
    second: int
    offset_px: tuple[float, float]
    correlation: float
    error_px: float
    accepted: bool
    reason: str
    undecided: bool = False


def without_chance_among_repetition(pairs: Sequence[PairShift]) -> tuple[PairShift, ...]:
    """Refuse pairs around which more pairs are undecided than tied.

    Where a strip ends in the middle of a period, one shift of a lattice looks like the only one.
    """
    found = list(pairs)
    while True:
        by_tile: defaultdict[int, set[int]] = defaultdict(set)
        for number, pair in enumerate(found):
            by_tile[pair.first].add(number)
            by_tile[pair.second].add(number)
        lucky = []
        for number, pair in enumerate(found):
            if pair.accepted:
                around = (by_tile[pair.first] | by_tile[pair.second]) - {number}
                undecided = sum(found[other].undecided for other in around)
                if undecided > sum(found[other].accepted for other in around):
                    lucky.append((number, undecided))
        if not lucky:
            return tuple(found)
        for number, undecided in lucky:
            reason = f"ambiguous: {undecided} pairs of its tiles fit another shift as well"
            found[number] = replace(found[number], accepted=False, reason=reason, undecided=True)
