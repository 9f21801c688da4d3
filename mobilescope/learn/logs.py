"""What a training run leaves to look at: the log as CSV, TensorBoard's files, and panels of validation fields."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mobilescope.core.errors import OutputError, UserError
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

    Parameters
    ----------
    validations : int
        How many the whole run has; at most twenty of them, evenly spaced, leave a panel.
    tensorboard : bool
        Write TensorBoard's files too; a UserError where the package is not installed.

    Raises
    ------
    OutputError
        Another table stands where the log goes.
    """

    def __init__(self, model: Path, *, validations: int, tensorboard: bool = False) -> None:
        self._csv = model.with_name(f"{model.stem}.csv")
        if self._csv.exists() and not self._is_log():
            raise OutputError(
                f"{self._csv}, where the log goes, holds something else", "move it away, or give the model another name"
            )
        self.panels = model.with_name(f"{model.stem}.panels")
        self._panel_every = max(1, math.ceil(validations / _MOST_PANELS))
        self._board_folder = model.with_name(f"{model.stem}.tensorboard")
        self._board: Any = None
        self._wants_board = tensorboard
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
        with self._csv.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))[1:]
        header = [field.name for field in fields(LogRow)]
        whole = (row for row in rows if len(row) == len(header))  # a kill may have cut the last line
        with self._csv.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *(row for row in whole if int(row[0]) <= step)])

    def add(self, row: LogRow, number: int, outputs: Sequence[NDArray[np.float32]], shown: Sequence[FieldPair]) -> None:
        """Log a validation, the ``number``-th of the run.

        Parameters
        ----------
        outputs, shown : sequences
            Enhanced validation fields, (rows, columns, 3) float32 0–1, and the fields; the first few are drawn.
        """
        new = not self._csv.exists()
        with self._csv.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow([field.name for field in fields(LogRow)])
            writer.writerow(row.texts())
        panel = None
        if number % self._panel_every == 0:
            panel = draw_panel(outputs, shown)
            self._save_panel(panel, row.step)
        if self._wants_board:
            self._write_board(row, panel)

    def close(self) -> None:
        """Finish TensorBoard's files."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def _save_panel(self, panel: NDArray[np.uint8], step: int) -> None:
        path = self.panels / f"step-{step:06d}.png"
        try:
            self.panels.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"no folder {self.panels} can be made: {error.strerror}", "move what is there") from error
        if not cv2.imwrite(str(path), cv2.cvtColor(panel, cv2.COLOR_RGB2BGR)):
            raise OutputError(f"the picture {path} can't be written", "check the folder and its free space")

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
