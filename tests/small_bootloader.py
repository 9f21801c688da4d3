"""A bootloader on a pseudo-terminal, for chips and faults that no simulator has."""

from __future__ import annotations

import os
import select
import threading
import tty


class SmallBootloader:
    """Answers avrdude as an STK500 bootloader does, for a chip of any signature, and keeps what is written.

    ``deaf`` answers nonsense, ``faulty`` reads the first byte back with a bit flipped.
    """

    def __init__(self, signature: bytes, *, deaf: bool = False, faulty: bool = False):
        self.signature, self.deaf, self.faulty = signature, deaf, faulty
        self.flash = bytearray(b"\xff" * 32768)
        self.heard = self.pages_written = 0
        self._address = 0
        self._near, self._far = os.openpty()
        tty.setraw(self._far)
        self.port = os.ttyname(self._far)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        for descriptor in (self._near, self._far):
            os.close(descriptor)

    def _serve(self):
        pending = b""
        while not self._stop.is_set():
            if select.select([self._near], [], [], 0.02)[0]:
                came = os.read(self._near, 512)
                pending, self.heard = pending + came, self.heard + len(came)
            if self.deaf and pending:
                os.write(self._near, b"\xff" * len(pending))
                pending = b""
            while pending and len(pending) >= (length := self._length(pending)):
                os.write(self._near, b"\x14" + self._answer(pending[:length]) + b"\x10")
                pending = pending[length:]

    def _length(self, pending: bytes) -> int:
        """Return the length of a command with its end mark."""
        if pending[0] == 0x64:
            return 5 + int.from_bytes(pending[1:3].ljust(2, b"\xff"), "big")
        return 2 + {0x41: 1, 0x42: 20, 0x45: 5, 0x55: 2, 0x56: 4, 0x74: 3}.get(pending[0], 0)

    def _answer(self, command: bytes) -> bytes:
        kind, count = command[0], int.from_bytes(command[1:3], "big")
        if kind == 0x41:
            return b"\x04"
        if kind == 0x75:
            return self.signature
        if kind == 0x55:
            self._address = 2 * int.from_bytes(command[1:3], "little")
        if kind == 0x64:
            self.flash[self._address : self._address + count] = command[4:-1]
            self.pages_written += 1
        if kind == 0x74:
            read = bytearray(self.flash[self._address : self._address + count])
            read[0] ^= self.faulty
            return bytes(read)
        return b""
