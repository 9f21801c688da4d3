"""Good and bad input side by side, for tests of what commands refuse, and how each command is given it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
import tifffile
import torch

WRONG_FILES = ("missing", "empty", "truncated", "png", "hdf5", "text", "folder", "below-a-file")


@dataclass(frozen=True)
class Bench:
    """A folder of good and bad input, that no command may change, and one for output that must stay without files."""

    folder: Path
    out: Path
    digests: dict[str, str]

    def __getitem__(self, name: str) -> Path:
        return self.folder / name


def write_wrong_files(folder: Path, good: Path) -> None:
    """Write every kind of wrong file under the suffix of a good one."""
    content = good.read_bytes()
    for name, wrong in {
        "empty": b"", "truncated": content[: len(content) * 2 // 3], "png": (folder / "picture.png").read_bytes(),
        "text": b"To whom it may concern\n",
    }.items():
        (folder / f"{name}{good.suffix}").write_bytes(wrong)
    with h5py.File(folder / f"hdf5{good.suffix}", "w") as file:
        file["measurement"] = np.arange(10)
    (folder / f"folder{good.suffix}").mkdir()


def wrong_file(bench: Bench, name: str, suffix: str) -> Path:
    return bench["plan.toml"] / f"x{suffix}" if name == "below-a-file" else bench[f"{name}{suffix}"]


class RunsCode:
    """Unpickling this leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def write_models(folder: Path) -> None:
    content = torch.load(folder / "model.pt", weights_only=True)
    card = json.loads(content["card"])

    def save(name: str, **changes: object) -> None:
        torch.save(content | {"card": json.dumps(card | changes)}, folder / name)

    save("focus.pt", kind="mobilescope-focus")
    save("newer.pt", format_version=99)
    save("narrow.pt", network=card["network"] | {"blocks": 3})
    save("odd.pt", network=card["network"] | {"blocks": -1})
    torch.save(content["weights"], folder / "weights.pt")
    (folder / "code.pt").write_bytes(pickle.dumps(RunsCode(folder / "mark"), protocol=2))
    torch.save({"card": RunsCode(folder / "mark")}, folder / "code-in-zip.pt")


def write_pictures(folder: Path) -> None:
    for name, array in {
        "float": np.full((80, 80), 0.5, np.float32), "scaled": np.full((80, 80), 100, np.float32),
        "nan": np.full((80, 80), np.nan, np.float32), "five": np.zeros((80, 80, 5), np.uint8),
        "integers": np.zeros((80, 80, 3), np.int32), "stack": np.zeros((9, 80, 80), np.uint8),
    }.items():
        tifffile.imwrite(folder / f"{name}.tif", array, photometric="minisblack")
    cv2.imwrite(str(folder / "tiny.png"), np.zeros((8, 8, 3), np.uint8))
    for name in ("pictures", "twins"):
        (folder / name).mkdir()
        shutil.copy(folder / "picture.png", folder / name / "a.png")
    cv2.imwrite(str(folder / "twins" / "a.jpg"), np.zeros((64, 64, 3), np.uint8))
    (folder / "nothing").mkdir()


Arguments = Callable[[Bench, Path], list[object]]
SESSION_ARGUMENTS: dict[str, Arguments] = {
    "stitch": lambda b, file: ["stitch", file],
    "register": lambda b, file: ["register", file],
    "train": lambda b, file: ["train", file, "--out", b.out / "m.pt", "--steps", 1],
    "evaluate": lambda b, file: ["evaluate", b["model.pt"], file, "--report", b.out / "r.html"],
    "inspect": lambda b, file: ["inspect", file],
    "export": lambda b, file: ["export", file, "--out", b.out / "export"],
    "export-png": lambda b, file: ["export", file, "--kind", "png", "--out", b.out / "export"],
    "enhance": lambda b, file: ["enhance", b["model.pt"], file, b.out / "enhanced"],
}
ACQUISITION_ARGUMENTS: dict[str, Arguments] = {
    command: lambda b, file, command=command: [
        "--config", b["instrument.toml"], command, b["plan.toml"], "--session", file
    ]
    for command in ("scan", "capture")
}
PLAN_ARGUMENTS: dict[str, Arguments] = {
    command: lambda b, file, command=command: [
        "--config", b["instrument.toml"], command, file, "--session", b.out / "new.h5"
    ]
    for command in ("scan", "capture")
}
CONFIG_ARGUMENTS: dict[str, Arguments] = {
    "config": lambda b, file: ["--config", file, "scan", b["plan.toml"], "--session", b.out / "new.h5"]
}
MODEL_ARGUMENTS: dict[str, Arguments] = {
    "evaluate": lambda b, file: ["evaluate", file, b["session.h5"], "--report", b.out / "r.html"],
    "enhance": lambda b, file: ["enhance", file, b["picture.png"], b.out / "enhanced.png"],
    "inspect": lambda b, file: ["inspect", file],
    "export": lambda b, file: ["export", file, "--out", b.out / "m.onnx"],
}
PICTURE_ARGUMENTS: dict[str, Arguments] = {
    "enhance": lambda b, file: ["enhance", b["model.pt"], file, b.out / "enhanced.png"],
    "demo": lambda b, file: ["demo", "--specimen", file, "--pixel-size-um", 0.5, "--out", b.out / "demo"],
}
