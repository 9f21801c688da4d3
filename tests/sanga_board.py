"""A Sangaboard as its firmware describes it (versions 0.5 and 1.0), by a clock that it is told.

Written from the commands and answers of the Sangaboard firmware and of pysangaboard, and from nothing that the driver
holds.
"""

from __future__ import annotations

from dataclasses import dataclass

HELP = "Type 'help' for a list of commands."


@dataclass
class SangaBoard:
    """Answers lines as a Sangaboard does; positions are steps.

    Attributes
    ----------
    play : tuple of int
        Backlash in steps; ``carriage`` is where the axes really are.
    """

    version: str = "1.0.4"
    step_delay_us: int = 1000
    play: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        self.at = [0, 0, 0]
        self.carriage = [0, 0, 0]
        self.stored = [0, 0, 0]
        self.moves: list[list[int]] = []
        self.received: list[str] = []
        self._move: tuple[list[int], list[int], float, float] | None = None
        self._blocking, self._told_at_end = True, False
        self._input = b""
        self._out = b""

    @property
    def _is_new(self) -> bool:
        return not self.version.startswith("0")

    def reset(self, now_s: float, _cause: object = None) -> None:
        """Power on: the position is the one that was stored last."""
        del now_s
        self._move, self._input, self.at = None, b"", list(self.stored)
        self._say(f"Sangaboard Firmware v{self.version}")

    def feed(self, data: bytes, now_s: float) -> bytes:
        """Take bytes and return what the board says until now."""
        self._advance(now_s)
        self._input += data
        # Firmware before 1.0 reads nothing while it moves.
        while b"\n" in self._input and (self._is_new or self._move is None):
            line, _, self._input = self._input.partition(b"\n")
            self._execute(line.decode("ascii", "replace").strip(), now_s)
        out, self._out = self._out, b""
        return out

    def _say(self, line: str) -> None:
        self._out += line.encode() + b"\r\n"

    def _execute(self, line: str, now_s: float) -> None:
        self.received.append(line)
        words = line.split()
        if line == "version":
            self._say(f"Sangaboard Firmware v{self.version}")
        elif line == "p?":
            self._say(" ".join(map(str, self.at)))
        elif line == "dt?":
            self._say(f"minimum step delay {self.step_delay_us}")
        elif line == "zero":
            self.at = [0, 0, 0]
            self.carriage = [0, 0, 0]
            self.stored = [0, 0, 0]
            self._say("position reset to 0 0 0")
        elif words and words[0] == "mr" and len(words) == 4:
            self._begin([int(word) for word in words[1:]], now_s)
        elif words and words[0] in ("mrx", "mry", "mrz") and len(words) == 2:
            way = [0, 0, 0]
            way["xyz".index(words[0][2])] = int(words[1])
            self._begin(way, now_s)
        elif self._is_new and words and words[0] == "blocking_moves":
            self._blocking = words[1] == "true"
            self._say("done.")
        elif self._is_new and line == "moving?":
            self._say("true" if self._move is not None else "false")
        elif self._is_new and line == "stop":
            self._move = None
            self._say("Move aborted")
        elif line == "release":
            self._say("done")
        else:
            self._say(HELP)

    def _begin(self, way: list[int], now_s: float) -> None:
        lasts_s = max(abs(steps) for steps in way) * self.step_delay_us / 1e6
        self.moves.append(way)
        self._move = (list(self.at), [at + steps for at, steps in zip(self.at, way, strict=True)], now_s, lasts_s)
        self._told_at_end = self._blocking
        if not self._blocking:
            self._say("done.")
        self._advance(now_s)

    def _advance(self, now_s: float) -> None:
        if self._move is None:
            return
        begin, end, since_s, lasts_s = self._move
        share = min(1.0, (now_s - since_s) / lasts_s) if lasts_s else 1.0
        self.at = [round(a + share * (b - a)) for a, b in zip(begin, end, strict=True)]
        for axis, (motor, play) in enumerate(zip(self.at, self.play, strict=True)):
            self.carriage[axis] = min(max(self.carriage[axis], motor - play), motor)
        if share == 1:
            self._move = None
            if self._told_at_end:
                self._say("stopped" if self._is_new else "done.")
