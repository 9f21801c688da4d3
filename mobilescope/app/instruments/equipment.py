"""What is plugged in and installed: boards, compute devices, Micro-Manager, and the tools for the firmware.

Nothing slow is imported and no light is changed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from serial.tools import list_ports

from mobilescope.app.firmware.ring_reading import identity_json
from mobilescope.core.errors import MobilescopeError
from mobilescope.core.machine import cpu_name, package_version
from mobilescope.devices.micromanager import demo_configuration
from mobilescope.devices.phones.adb_link import adb_phones, server_runs
from mobilescope.devices.ports import find_boards, probe
from mobilescope.devices.stages.probing import probe_stage
from mobilescope.twin.ring_simulator import simulator_missing

# A reset Arduino answers after some 1.5 s; a port is asked twice at most, all ports side by side.
_PROBE_S = 1.8
_TOOL_S = 2.0
_PROBES = 8
_GPU_FACTS = Path("/proc/driver/nvidia/gpus")
_TOOLS = {
    "avrdude": (["avrdude", "-?"], r"avrdude version ([\w.]+)"),
    "avr-gcc": (["avr-gcc", "--version"], r"\) ([\d.]+)"),
}


def equipment() -> dict[str, Any]:
    """Return what is plugged in and installed, as plain values."""
    return {
        "ports": _ports(),
        "phones": _phones(),
        "compute": _compute(),
        "micromanager": _micromanager(),
        "firmware_tools": {name: _tool_version(*how) for name, how in _TOOLS.items()},
        "simulator": {"available": simulator_missing() is None, "missing": simulator_missing()},
    }


def _ports() -> list[dict[str, Any]]:
    """Return all serial ports and waiting Trinkets; those that may be rings are asked who they are, side by side."""
    boards = find_boards()
    with ThreadPoolExecutor(_PROBES) as pool:
        asked = pool.map(_asked, (info.port for info in boards))
        found = [
            {"port": info.port, "title": info.title, "usb_id": info.usb_id, "bootloader": info.bootloader} | answer
            for info, answer in zip(boards, asked, strict=True)
        ]
    known = {info.port for info in boards}
    others = [
        {"port": other.device, "title": other.description, "usb_id": None, "bootloader": False, "ring": None,
         "stage": None}
        for other in sorted(list_ports.comports()) if other.device not in known
    ]
    return found + others


def _asked(port: str | None) -> dict[str, Any]:
    """Ask for a ring, then for a stage: they come on the same boards."""
    nobody: dict[str, Any] = {"ring": None, "stage": None}
    if port is None:
        return nobody
    try:
        identity = probe(port, patience_s=_PROBE_S)
        if identity is not None:
            return nobody | {"ring": identity_json(identity)}
        stage = probe_stage(port, patience_s=_PROBE_S)
    except MobilescopeError as error:
        return nobody | {"problem": str(error)}
    return nobody if stage is None else nobody | {"stage": {"kind": stage.kind, "firmware": stage.firmware}}


def _phones() -> dict[str, Any]:
    """Return the phones that adb's server lists; one that does not run is not started."""
    if not server_runs():
        return {"adb": False, "phones": []}
    try:
        found = adb_phones()
    except MobilescopeError as error:
        return {"adb": True, "phones": [], "problem": str(error)}
    return {
        "adb": True,
        "phones": [
            {"serial": phone.serial, "model": phone.model, "state": phone.state, "remedy": phone.remedy}
            for phone in found
        ],
    }


def _compute() -> dict[str, Any]:
    """Return processors and graphics cards as the system names them, without importing torch."""
    cards = [_field(path.read_text(errors="replace"), "Model") for path in sorted(_GPU_FACTS.glob("*/information"))]
    return {"cpu": cpu_name(), "cuda": cards, "torch": package_version("torch")}


def _field(text: str, name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _micromanager() -> dict[str, Any]:
    try:
        configuration = demo_configuration()
        lines = configuration.read_text(encoding="utf-8", errors="replace").splitlines()
    except (MobilescopeError, OSError) as error:
        return {"pycromanager": package_version("pycromanager"), "problem": str(error)}
    devices = [line.split(",")[1] for line in lines if line.startswith("Device,")]
    return {
        "pycromanager": package_version("pycromanager"), "mm-test-adapters": package_version("mm-test-adapters"),
        "demo_devices": devices,
    }


def _tool_version(command: list[str], pattern: str) -> str | None:
    """Return the version that a tool tells, None where it is not installed."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_TOOL_S
        )
    except subprocess.TimeoutExpired:
        return "installed, does not answer"
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "installed"
