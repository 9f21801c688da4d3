"""Write the protocol's table into the firmware's header, the driver's module, the document and the example frames.

Run ``python firmware/generate.py`` after each change of protocol.toml; with ``--check`` it fails where a file differs
from what it would write.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MARK = "<!-- generated -->\n"
NOTE = "Generated from firmware/protocol.toml by firmware/generate.py; do not edit."
BITS = ("flag", "test", "capability", "reset_cause")
CODES = ("command", "status", "pattern", "setting", "board")
GAMMA = [round(255 * (value / 255) ** 2.2) for value in range(256)]


def crc16(data: bytes) -> int:
    """Return the CRC-16-CCITT of bytes, inverted, a bit at a time."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc ^ 0xFFFF


def encode(sequence: int, command: int, payload: bytes) -> bytes:
    """Return a frame as it goes over the wire (frames here stay below 254 bytes, so COBS needs no long blocks)."""
    body = bytes([sequence, command]) + payload
    body += crc16(body).to_bytes(2, "big")
    return b"".join(bytes([len(part) + 1]) + part for part in body.split(b"\0")) + b"\0"


def header(table: dict[str, Any]) -> str:
    """Return the firmware's C header."""
    version = table["version"]
    lines = [
        f"/* {NOTE} */", "#ifndef PROTOCOL_H", "#define PROTOCOL_H", "",
        *(f"#define PROTOCOL_{name} {number}u" for name, number in
          zip(("MAJOR", "MINOR"), version["protocol"], strict=True)),
        *(f"#define FIRMWARE_{name} {number}u" for name, number in
          zip(("MAJOR", "MINOR", "PATCH"), version["firmware"], strict=True)),
    ]
    for kind in CODES:
        lines += ["", *(f"#define {kind.upper()}_{row['name'].upper()} 0x{row['code']:02x}u" for row in table[kind])]
    for kind in BITS:
        lines += ["", *(f"#define {kind.upper()}_{row['name']} 0x{1 << row['bit']:02x}u" for row in table[kind])]
    lines.append("")
    for row in table["setting"]:
        for key in ("least", "greatest", "default"):
            lines.append(f"#define {row['name']}_{key.upper()} {row[key]}u")
    for board in table["board"]:
        for key in ("baud", "max_pixels", "max_payload", "max_steps"):
            lines.append(f"#define {board['name'].upper()}_{key.upper()} {board[key]}ul")
        pieces = [board["signature"][place : place + 2] for place in (0, 2, 4)]
        lines.append(f"#define {board['name'].upper()}_SIGNATURE {{{', '.join(f'0x{piece}' for piece in pieces)}}}")
    status = next(row["code"] for row in table["status"] if row["name"] == "BAD_FRAME")
    reply = ", ".join(f"0x{byte:02x}" for byte in encode(0, 0, bytes([status])))
    lines += ["", "/* The answer to a damaged frame, as it goes over the wire. */"]
    lines += [f"#define BAD_FRAME_REPLY {{{reply}}}"]
    gamma = [", ".join(map(str, GAMMA[start : start + 16])) for start in range(0, 256, 16)]
    lines += ["", "#define GAMMA_TABLE { \\", *(f"    {row}, \\" for row in gamma), "}", "", "#endif", ""]
    return "\n".join(lines)


def module(table: dict[str, Any]) -> str:
    """Return the driver's Python module."""
    version = table["version"]
    lines = [
        '"""The numbers of the ring\'s protocol, see firmware/PROTOCOL.md.', "", f'{NOTE}', '"""', "",
        "from __future__ import annotations", "", "from dataclasses import dataclass",
        "from enum import IntEnum, IntFlag", "", f"PROTOCOL_VERSION = {tuple(version['protocol'])}",
        f"FIRMWARE_VERSION = {tuple(version['firmware'])}", "", "",
    ]
    for kind in ("command", "status", "pattern", "setting"):
        name = {"pattern": "PatternKind"}.get(kind, kind.title())
        lines += [f"class {name}(IntEnum):", f'    """{describe(kind)}"""', ""]
        lines += [f"    {row['name']} = 0x{row['code']:02X}" for row in table[kind]] + ["", ""]
    for kind in BITS:
        name = {"flag": "LightFlag", "test": "SelfTest"}.get(kind, kind.title().replace("_", ""))
        lines += [f"class {name}(IntFlag):", f'    """{describe(kind)}"""', ""]
        lines += [f"    {row['name']} = 1 << {row['bit']}" for row in table[kind]] + ["", ""]
    lines += ["STATUS_TEXT = {"]
    lines += [f"    Status.{row['name']}: {json.dumps(row['text'])}," for row in table["status"]] + ["}", ""]
    lines += ["SELF_TEST_TEXT = {"]
    lines += [f"    SelfTest.{row['name']}: {json.dumps(row['text'], ensure_ascii=False)}," for row in table["test"]]
    lines += ["}", "", "", "@dataclass(frozen=True)", "class SettingRange:",
              '    """Least, greatest and default value of a setting; ``zero`` tells that 0 is allowed besides."""', "",
              "    least: int", "    greatest: int", "    default: int", "    zero: bool", "", "", "SETTING_RANGES = {"]
    lines += [
        f"    Setting.{row['name']}: SettingRange({row['least']}, {row['greatest']}, {row['default']}, "
        f"zero={row.get('zero', False)})," for row in table["setting"]
    ]
    lines += ["}", "", "", "@dataclass(frozen=True)", "class BoardKind:",
              '    """A board that the firmware is built for."""', "", "    name: str", "    code: int",
              "    title: str", "    signature: bytes", "    baud: int", "    max_pixels: int", "    max_payload: int",
              "    max_steps: int", "", "", "BOARDS = ("]
    for row in table["board"]:
        lines += [
            "    BoardKind(",
            f"        {json.dumps(row['name'])}, {row['code']}, {json.dumps(row['title'])}, "
            f"bytes.fromhex({json.dumps(row['signature'])}),",
            f"        baud={row['baud']}, max_pixels={row['max_pixels']}, max_payload={row['max_payload']}, "
            f"max_steps={row['max_steps']},", "    ),",
        ]
    gamma = [", ".join(map(str, GAMMA[start : start + 16])) for start in range(0, 256, 16)]
    lines += [")", "", "GAMMA = (", *(f"    {row}," for row in gamma), ")", ""]
    return "\n".join(lines)


def describe(kind: str) -> str:
    """Return a docstring for a table."""
    return {
        "command": "What the host asks.", "status": "How the board answers.", "pattern": "Patterns of light.",
        "setting": "Settings of the board.", "flag": "Flags of the light reply.",
        "test": "Tests of the self-test reply.", "capability": "What a board can do.",
        "reset_cause": "Why the board started.",
    }[kind]


def document(table: dict[str, Any], examples: list[dict[str, Any]]) -> str:
    """Return the document's tables."""
    major, minor = table["version"]["protocol"]
    parts = [f"{NOTE}\n\nProtocol {major}.{minor}.\n"]

    def rows(title: str, heads: list[str], lines: list[list[str]]) -> None:
        parts.append(f"## {title}\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n" +
                     "".join(f"| {' | '.join(line)} |\n" for line in lines))
    rows("Commands", ["code", "name", "request", "reply", ""], [
        [f"0x{r['code']:02x}", r["name"], r["request"] or "none", r["reply"], r["text"]] for r in table["command"]])
    rows("Statuses", ["code", "name", "data", ""], [
        [str(r["code"]), r["name"], r.get("data", ""), r["text"]] for r in table["status"]])
    rows("Patterns", ["code", "name", ""], [[str(r["code"]), r["name"], r["text"]] for r in table["pattern"]])
    rows("Settings", ["code", "name", "range", "default", ""], [
        [str(r["code"]), r["name"], ("0, " if r.get("zero") else "") + f"{r['least']}-{r['greatest']}",
         str(r["default"]), r["text"]] for r in table["setting"]])
    for kind, title in (("flag", "Flags"), ("test", "Self-tests"), ("capability", "Capabilities"),
                        ("reset_cause", "Reset causes")):
        rows(title, ["bit", "name", ""], [[str(r["bit"]), r["name"], r["text"]] for r in table[kind]])
    rows("Boards", ["code", "name", "", "signature", "baud", "pixels", "payload", "steps"], [
        [str(r["code"]), r["name"], r["title"], r["signature"], str(r["baud"]), f"1-{r['max_pixels']}",
         f"{r['max_payload']} bytes", str(r["max_steps"])] for r in table["board"]])
    parts.append(
        "## Example frames\nIn this order on a fresh Uno with 12 pixels, as bytes on the wire. `examples.json`"
        " has the same; the tests of both sides replay it.\n")
    frames = (f"- {e['text']}\n  - host `{e['request']}`\n  - board `{e['reply']}`\n" for e in examples)
    return "\n".join(parts) + "".join(frames)


def example_frames(table: dict[str, Any]) -> list[dict[str, Any]]:
    """Return exchanges with a fresh board; wire bytes as hexadecimal."""
    command = {row["name"]: row["code"] for row in table["command"]}
    status = {row["name"]: row["code"] for row in table["status"]}
    uno = table["board"][0]
    lit, fresh = 1, 0x80

    def light(pixels: list[tuple[int, int, int]], flags: int) -> bytes:
        shown = b"".join(bytes([green, red, blue]) for red, green, blue in pixels)
        current = -(-20 * sum(shown) // 255) + len(pixels)
        return bytes([flags]) + crc16(shown).to_bytes(2, "big") + current.to_bytes(2, "big")

    identity = bytes([
        *table["version"]["protocol"], *table["version"]["firmware"], uno["code"], *bytes.fromhex(uno["signature"]),
        12, uno["max_pixels"], uno["max_payload"], uno["max_steps"], 0, 0b101, 1,
    ])
    dark, orange = [(0, 0, 0)] * 12, [(255, 128, 0)] * 12
    one = [(255, 128, 0)] * 3 + [(1, 2, 3)] + [(255, 128, 0)] * 8
    half = [(0, 40, 0)] * 6 + [(0, 0, 0)] * 6
    steps: list[tuple[str, int, str, bytes, str, bytes]] = [
        ("Before IDENTIFY the board says that it is fresh.", 1, "KEEP_ALIVE", b"", "OK", light(dark, fresh)),
        ("Who is there: an Uno with 12 pixels, just powered.", 2, "IDENTIFY", b"", "OK", identity),
        ("All pixels ff8000.", 3, "FILL", bytes([0, 12, 255, 128, 0]), "OK", light(orange, lit)),
        ("One pixel of another colour.", 4, "SET_ONE", bytes([3, 1, 2, 3]), "OK", light(one, lit)),
        ("A pixel beyond the ring: refused, the light stays.", 5, "SET_ONE", bytes([12, 1, 2, 3]),
         "PIXEL_OUT_OF_RANGE", b""),
        ("All white is more than 500 mA: refused with estimate and limit.", 6, "FILL", bytes([0, 12, 255, 255, 255]),
         "CURRENT_LIMIT", (732).to_bytes(2, "big") + (500).to_bytes(2, "big")),
        ("Half the ring in dim green.", 7, "PATTERN", bytes([1, 0, 0, 40, 0]), "OK", light(half, lit)),
        ("A setting is read.", 8, "GET_CONFIG", bytes([7]), "OK", (2000).to_bytes(2, "big")),
        ("Off.", 9, "OFF", b"", "OK", light(dark, 0)),
    ]
    examples = [
        {"text": text, "request": encode(number, command[name], payload).hex(),
         "reply": encode(number, command[name], bytes([status[answer]]) + data).hex()}
        for text, number, name, payload, answer, data in steps
    ]
    damaged = bytearray(encode(10, command["FILL"], bytes([0, 12, 9, 9, 9])))
    damaged[5] ^= 0x10
    examples.append({
        "text": "A bit flipped on the way: refused, nothing changes.", "request": bytes(damaged).hex(),
        "reply": encode(0, 0, bytes([status["BAD_FRAME"]])).hex(),
    })
    return examples


def outputs(table: dict[str, Any]) -> dict[Path, str]:
    """Return the content of every generated file."""
    examples = example_frames(table)
    page = HERE / "PROTOCOL.md"
    prose = page.read_text(encoding="utf-8").split(MARK)[0]
    return {
        HERE / "ring" / "protocol.h": header(table),
        HERE.parent / "mobilescope" / "core" / "ring_protocol.py": module(table),
        page: prose + MARK + document(table, examples),
        HERE / "examples.json": json.dumps(examples, indent=2) + "\n",
    }


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    arguments = parser.parse_args()
    table = tomllib.loads((HERE / "protocol.toml").read_text(encoding="utf-8"))
    stale = []
    for path, text in outputs(table).items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if arguments.check:
            stale.append(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{path} is stale: run python firmware/generate.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
