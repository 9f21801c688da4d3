"""The command `mobilescope devices`: what is plugged in and installed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mobilescope.app.terminal.console import print_json, say


def devices(
    json: Annotated[bool, typer.Option("--json", help="End with one line of JSON on standard output.")] = False,
) -> None:
    """Say what is plugged in and installed: rings, stages, phones, compute devices, Micro-Manager, firmware tools.

    A ring that another program lights is left alone; opening a free port resets an Arduino.

    Example: mobilescope devices --json
    """
    from mobilescope.app.instruments.equipment import equipment

    found = equipment()
    for line in _lines(found):
        say(line)
    if json:
        print_json(found)


def _lines(found: dict[str, Any]) -> list[str]:
    compute, micromanager, simulator = found["compute"], found["micromanager"], found["simulator"]
    tools = ", ".join(f"{name} {version or 'not installed'}" for name, version in found["firmware_tools"].items())
    return [
        *[_port_line(port) for port in found["ports"]],
        *([] if found["ports"] else ["no serial port"]),
        *_phone_lines(found["phones"]),
        f"compute: {compute['cpu'] or 'CPU'}{''.join(f', CUDA {card}' for card in compute['cuda'])}; "
        f"torch {compute['torch'] or 'not installed'}",
        "Micro-Manager: " + (
            micromanager.get("problem")
            or f"pycromanager {micromanager['pycromanager']}, demo devices {', '.join(micromanager['demo_devices'])}"
        ),
        f"firmware tools: {tools}",
        f"simulator: {'ready to build' if simulator['available'] else 'not here: ' + str(simulator['missing'])}",
    ]


def _phone_lines(phones: dict[str, Any]) -> list[str]:
    if phones.get("problem"):
        return [f"phones: {phones['problem']}"]
    if not phones["phones"]:
        said = "none on a cable" if phones["adb"] else "no adb server runs (adb start-server starts one)"
        return [f"phones: {said}"]
    return [
        f"phone {phone['serial']}: {phone['model'] or 'Android phone'}, "
        + ("ready" if not phone["remedy"] else f"{phone['state']}: {phone['remedy']}")
        for phone in phones["phones"]
    ]


def _port_line(port: dict[str, Any]) -> str:
    usb = f" ({port['usb_id']})" if port["usb_id"] else ""
    where = f"{port['port'] or 'USB'}: {port['title']}{usb}"
    ring = port["ring"]
    if ring is not None:
        return f"{where}; ring of {ring['pixels']} pixels, {ring['title']}, firmware {ring['firmware']}"
    if port["stage"] is not None:
        return f"{where}; stage, {port['stage']['kind']} {port['stage']['firmware']}".rstrip()
    if port.get("problem"):
        return f"{where}; {port['problem']}"
    return f"{where}{'; waits for a program' if port['bootloader'] else ''}"
