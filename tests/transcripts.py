"""Documented conversations with boards: replayed on a simulated board, or spoken to a driver."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mobilescope.core.errors import LinkLostError

FOLDER = Path(__file__).parent / "transcripts"


@dataclass(frozen=True)
class Said:
    """One line: who says it (">" the host, "<" the board, "@" where it stands), and what."""

    who: str
    text: str


def load(name: str) -> list[Said]:
    """Read a conversation."""
    lines = (FOLDER / name).read_text(encoding="ascii").splitlines()
    return [Said(line[0], line[2:]) for line in lines if line and not line.startswith("#")]


class TranscriptWire:
    """A wire at whose end a documented conversation is spoken: each request gets what the document says it gets.

    ``also`` answers requests that the document has elsewhere, single bytes among them.
    """

    name = "transcript"

    def __init__(self, conversation: list[Said], also: dict[bytes, list[str]]) -> None:
        self.asked: list[str] = []
        self.is_closed = False
        self._at_once = {request: answer for request, answer in also.items() if len(request) == 1}
        self._answers = also | _answers(conversation)
        self._pending = b""
        self._out = b""
        self._now_s = 0.0

    def write(self, data: bytes) -> None:
        if self.is_closed:
            raise LinkLostError("closed")
        for byte in data:
            single = bytes((byte,))
            if single in self._at_once:
                self._answer(single)
            elif single == b"\n":
                self.asked.append(self._pending.decode())
                self._answer(self._pending + b"\n")
                self._pending = b""
            else:
                self._pending += single

    def _answer(self, request: bytes) -> None:
        for line in self._answers.get(request, []):
            self._out += line.encode() + b"\r\n"

    def read(self, timeout_s: float) -> bytes:
        out, self._out = self._out, b""
        self._now_s += 0.001 if out else max(timeout_s, 0.001)
        return out

    def now_s(self) -> float:
        return self._now_s

    def sleep(self, duration_s: float) -> None:
        self._now_s += duration_s

    def close(self) -> None:
        self.is_closed = True

    def reopen(self) -> None:
        self.is_closed = False


def _answers(conversation: list[Said]) -> dict[bytes, list[str]]:
    answers: dict[bytes, list[str]] = {}
    request = b""
    for said in conversation:
        if said.who == ">":
            request = said.text.encode() + b"\n"
            answers[request] = []
        elif said.who == "<" and request:
            answers[request].append(said.text)
    return answers
