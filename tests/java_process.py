"""Starts and stops the stand-in for a running Micro-Manager (`java_server.py`) and gives it orders."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class JavaProcess:
    def __init__(self, port=None):
        self.port = port or free_port()
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("java_server.py")), str(self.port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )
        assert self._process.stdout.readline() == "STARTED\n"

    def order(self, text):
        self._process.stdin.write(text + "\n")
        assert self._process.stdout.readline() == "OBEYED\n"

    def close(self):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
