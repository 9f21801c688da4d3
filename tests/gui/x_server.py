"""An X server without a screen, for as long as it is needed."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager


@contextmanager
def x_server():
    """Start Xvfb; yields the process and its display's name. It is ended at the end, if it still runs."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        with os.fdopen(read) as told:
            number = told.readline().strip()
        try:
            assert number, "Xvfb did not start"
            yield server, f":{number}"
        finally:
            server.terminate()
