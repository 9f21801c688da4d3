"""What a training run leaves to look at: the log as CSV, TensorBoard's files, and panels of validation fields."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import OutputError, UserError
from mobilescope.core.whole_files import own_temporary
from mobilescope.imaging.colour import to_float, to_uint8
from mobilescope.learn.patches import FieldPair

_PANEL_FIELDS = 3
_PANEL_INPUT_PX = 128
_MOST_PANELS = 20
_GAP_PX = 6


@dataclass(frozen=True)
class LogRow:
    """The state of a run at a validation."""

    step: int
    seconds: float
    learning_rate: float
    training_loss: float
    validation_loss: float
    validation_ssim: float

    def texts(self) -> list[str]:
        """Return the row as it stands in the file."""
        return [
            str(self.step), f"{self.seconds:.1f}", f"{self.learning_rate:.3g}", f"{self.training_loss:.6f}",
            f"{self.validation_loss:.6f}", f"{self.validation_ssim:.5f}",
        ]


class TrainingLog:
    """The logs of one model: ``<stem>.csv``, ``<stem>.panels/`` and, where wanted, ``<stem>.tensorboard/``.

    What can't be written while the training runs is left out, with one warning: hours of training are worth more.

    Parameters
    ----------
    validations : int
        How many the whole run has; at most twenty of them, evenly spaced, leave a panel.
    tensorboard : bool
        Write TensorBoard's files too; a UserError where the package is not installed.

    Raises
    ------
    OutputError
        Something else stands where the log or the panels go.
    """

    def __init__(self, model: Path, *, validations: int, tensorboard: bool = False) -> None:
        self._csv = model.with_name(f"{model.stem}.csv")
        if self._csv.exists() and not self._is_log():
            raise OutputError(
                f"{self._csv}, where the log goes, holds something else", "move it away, or give the model another name"
            )
        self.panels = model.with_name(f"{model.stem}.panels")
        if self.panels.exists() and not self.panels.is_dir():
            raise OutputError(f"{self.panels}, where the panels go, is no folder", "move it away")
        self._panel_every = max(1, math.ceil(validations / _MOST_PANELS))
        self._board_folder = model.with_name(f"{model.stem}.tensorboard")
        self._board: Any = None
        self._wants_board = tensorboard
        self._has_failed = False
        if tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise UserError("TensorBoard is not installed", "install it with: pip install 'mobilescope[logs]'")

    def _is_log(self) -> bool:
        """Return whether the table on the disk is a log, or what a kill left of one: nothing."""
        with self._csv.open(encoding="utf-8", errors="replace") as file:
            return file.readline().partition(",")[0].strip() in (fields(LogRow)[0].name, "")

    def start_anew(self) -> None:
        """Drop what an earlier run of this model left."""
        self._csv.unlink(missing_ok=True)
        for panel in self.panels.glob("step-*.png"):
            panel.unlink()
        for events in self._board_folder.glob("events.out.tfevents.*"):
            events.unlink()

    def go_on_from(self, step: int) -> None:
        """Drop what a killed run logged after the state that is resumed from."""
        if not self._csv.exists():
            return
        with self._csv.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.reader(file))[1:]
        header = [field.name for field in fields(LogRow)]
        # A kill may have cut the last line, a power cut have left anything there.
        whole = (row for row in rows if len(row) == len(header) and row[0].isdecimal())
        with self._sparing(), own_temporary(self._csv) as shorter:
            with shorter.path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([header, *(row for row in whole if int(row[0]) <= step)])
            shorter.path.replace(self._csv)

    def add(self, row: LogRow, number: int, outputs: Sequence[NDArray[np.float32]], shown: Sequence[FieldPair]) -> None:
        """Log a validation, the ``number``-th of the run.

        Parameters
        ----------
        outputs, shown : sequences
            Enhanced validation fields, (rows, columns, 3) float32 0–1, and the fields; the first few are drawn.
        """
        panel = draw_panel(outputs, shown) if number % self._panel_every == 0 else None
        with self._sparing():
            self._append(row)
        if panel is not None:
            with self._sparing():
                self._save_panel(panel, row.step)
        if self._wants_board:
            with self._sparing():
                self._write_board(row, panel)

    def close(self) -> None:
        """Finish TensorBoard's files."""
        if self._board is not None:
            board, self._board = self._board, None
            with self._sparing():
                board.close()

    @contextmanager
    def _sparing(self) -> Iterator[None]:
        """Keep a failure of the disk from ending the training; the first one is told."""
        try:
            yield
        except OSError as error:
            if not self._has_failed:
                warnings.warn(
                    f"the training's log can't be written ({error}), so that something will be missing there; the "
                    "training goes on: free some space, or check the folder", RuntimeWarning, stacklevel=3,
                )
            self._has_failed = True

    def _append(self, row: LogRow) -> None:
        whole = self._csv.stat().st_size if self._csv.exists() else 0
        rows = [row.texts()] if whole else [[field.name for field in fields(LogRow)], row.texts()]
        try:
            with self._csv.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(rows)
        except OSError:
            with suppress(OSError):
                os.truncate(self._csv, whole)  # else the next row would stand behind a part of this one
            raise

    def _save_panel(self, panel: NDArray[np.uint8], step: int) -> None:
        path = self.panels / f"step-{step:06d}.png"
        self.panels.mkdir(exist_ok=True)
        if not cv2.imwrite(str(path), cv2.cvtColor(panel, cv2.COLOR_RGB2BGR)):
            raise OSError(f"no picture {path}")

    def _write_board(self, row: LogRow, panel: NDArray[np.uint8] | None) -> None:
        if self._board is None:
            module = importlib.import_module("torch.utils.tensorboard")
            self._board = module.SummaryWriter(str(self._board_folder))
        for field, value in zip(fields(LogRow)[1:], astuple(row)[1:], strict=True):
            self._board.add_scalar(field.name, value, row.step)
        if panel is not None:
            self._board.add_image("validation", panel, row.step, dataformats="HWC")
        self._board.flush()


def draw_panel(outputs: Sequence[NDArray[np.float32]], shown: Sequence[FieldPair]) -> NDArray[np.uint8]:
    """Return phone (enlarged), network and benchtop side by side, a row for each of the first fields, uint8 RGB."""
    rows = []
    for output, field in list(zip(outputs, shown, strict=False))[:_PANEL_FIELDS]:
        side = min(_PANEL_INPUT_PX, *field.input.shape[:2]) // 4 * 4
        top, left = ((length - side) // 8 * 4 for length in field.input.shape[:2])
        place = field.label_slice(top, top + side), field.label_slice(left, left + side)
        label = field.label[place]
        phone = to_float(field.input[top : top + side, left : left + side])
        enlarged = cv2.resize(phone, label.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        pictures = [to_uint8(np.asarray(enlarged)), to_uint8(output[place]), label]
        gap = np.full((label.shape[0], _GAP_PX, 3), 255, np.uint8)
        rows.append(np.concatenate([pictures[0], gap, pictures[1], gap, pictures[2]], axis=1))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, _GAP_PX), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded)
