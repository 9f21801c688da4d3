"""How fast pictures are enhanced, beside torch, ONNX Runtime and OpenVINO on the plain network.

    python tests/benchmarks/bench_inference.py [--model MODEL [--student SMALL] [--pairs FILE]] [--repeats N] [--json]

Without a model the weights are random, and int8, whose quality depends on them, is left out. Pictures are a pair file's
phone pictures, blind ones to enhance and training ones to calibrate int8 on, or else real histology. Every row takes an
8-bit picture and gives one 2.5 times larger, on two threads; the rows take turns and the best time of each counts, so
that a busy machine hurts them alike. ``cpu s`` is processor time: it stands still while other programs run. Peers come
with the extras ``fast`` and ``onnx``; a row whose library is missing is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mobilescope.core.errors import UserError
from mobilescope.data.pairs import PairStore
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.enhance.onnx_export import export_onnx
from mobilescope.learn.checkpoint import ModelCard, load_model, save_model
from mobilescope.learn.device import pick_dtype
from mobilescope.learn.networks import EnhancementNetwork

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "he_monuseg_train"
THREADS = 2
CALIBRATION_PICTURES = 6
Job = Callable[[np.ndarray], np.ndarray]


@dataclass
class Row:
    """A way to enhance, and what was measured of it."""

    name: str
    job: Job
    seconds: float = math.inf
    cpu_s: float = math.inf
    psnr_db: float = math.nan


@dataclass
class Report:
    """All rows of one picture size, the eager network first."""

    title: str
    rows: list[Row] = field(default_factory=list)

    def show(self) -> None:
        base = self.rows[0]
        print(f"\n{self.title}\n{'':34} {'ms':>8} {'×':>6} {'cpu ms':>8} {'cpu ×':>6} {'PSNR dB':>8}")
        for row in self.rows:
            print(
                f"{row.name:34} {row.seconds * 1e3:8.1f} {base.seconds / row.seconds:6.2f} {row.cpu_s * 1e3:8.1f} "
                f"{base.cpu_s / row.cpu_s:6.2f} {row.psnr_db:8.1f}"
            )


def pictures(size_px: int, count: int) -> list[np.ndarray]:
    """Return real histology, uint8, or noise where the shared data is not there."""
    import cv2

    found = []
    for path in sorted(DATA.glob("*.tif"))[:count]:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is not None:
            repeats = -(-size_px // min(picture.shape[:2]))
            picture = np.tile(picture[..., ::-1], (repeats, repeats, 1))
            found.append(np.ascontiguousarray(picture[:size_px, :size_px]))
    if not found:
        print(f"{DATA} is not there: the picture is noise", file=sys.stderr)
        found = [np.random.default_rng(0).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)]
    return found


def phone_pictures(pairs: Path, role: str, size_px: int, count: int) -> list[np.ndarray]:
    """Return a role's inputs as bytes, repeated to the size."""
    with PairStore.open(pairs) as store:
        places = [number for number, record in enumerate(store.records) if record.role == role and record.accepted]
        inputs = [(store.input(number) >> 8).astype(np.uint8) for number in places[:: max(1, len(places) // count)]]
    repeats = [-(-size_px // min(each.shape[:2])) for each in inputs]
    tiled = [np.tile(each, (times, times, 1)) for each, times in zip(inputs, repeats, strict=True)]
    return [np.ascontiguousarray(each[:size_px, :size_px]) for each in tiled[:count]]


def eager(network: EnhancementNetwork) -> Job:
    """Return the plain network as torch gives it: fp32, contiguous."""

    def run(picture: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            batch = (torch.from_numpy(picture)[None].permute(0, 3, 1, 2).float() / 255).contiguous()
            output = network(batch).clamp(0, 1).mul(255).round().to(torch.uint8)
            return output[0].permute(1, 2, 0).contiguous().numpy()

    return run


def channels_last(network: EnhancementNetwork, dtype: torch.dtype) -> Job:
    """Return the plain network in torch's faster layout, in half precision by autocast."""
    placed = EnhancementNetwork(network.config)
    placed.load_state_dict(network.state_dict())
    placed = placed.eval().to(memory_format=torch.channels_last)

    def run(picture: np.ndarray) -> np.ndarray:
        half = dtype != torch.float32
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            batch = torch.from_numpy(picture)[None].permute(0, 3, 1, 2).float() / 255
            output = placed(batch.contiguous(memory_format=torch.channels_last))
            output = output.clamp(0, 1).mul(255).round().to(torch.uint8)
            return output[0].permute(1, 2, 0).contiguous().numpy()

    return run


def _to_batch(picture: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)


def _to_picture(output: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.rint(np.clip(output[0], 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))


def onnx_runtime(path: Path) -> Job:
    """Return ONNX Runtime on the exported model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda picture: _to_picture(session.run(None, {"picture": _to_batch(picture)})[0])


def openvino(path: Path, hint: str, size_px: int) -> Job:
    """Return OpenVINO on the exported model, its shape fixed, 8-bit conversion inside its graph."""
    from openvino import Core, Layout, Type
    from openvino.preprocess import PrePostProcessor

    core: Any = Core()
    model = core.read_model(path)
    model.reshape([1, 3, size_px, size_px])
    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(Type.u8).set_layout(Layout("NHWC"))
    steps.input().model().set_layout(Layout("NCHW"))
    steps.input().preprocess().convert_element_type(Type.f32).scale(255.0)
    model = steps.build()
    options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", options).create_infer_request()

    def run(picture: np.ndarray) -> np.ndarray:
        request.infer([picture[None]])
        return _to_picture(request.get_output_tensor().data)

    return run


def ours(path: Path, calibration: list[np.ndarray]) -> list[Row]:
    """Return every mode of ours that this machine offers."""
    native = pick_dtype("auto", torch.device("cpu")) == torch.bfloat16
    precisions = ["fp32", "bf16"] if native else ["fp32"]
    rows = []
    for engine in ("torch", "openvino"):
        for precision in [*precisions, "int8"]:
            if precision == "int8" and (engine == "torch" or not calibration):
                continue
            try:
                made = Enhancer.from_checkpoint(path, "cpu", precision, engine=engine, calibration=calibration)
            except UserError as error:
                print(f"{engine} {precision}: {error}", file=sys.stderr)
                continue
            rows.append(Row(f"ours, {engine} {precision}", made))
    return rows


def measure(report: Report, picture: np.ndarray, repeats: int) -> None:
    """Time the rows in turns, and compare their pictures with the first row's."""
    wanted = report.rows[0].job(picture).astype(np.float64)
    for row in report.rows:
        error = float(np.mean((row.job(picture) - wanted) ** 2))
        row.psnr_db = math.inf if error == 0 else 10 * math.log10(255**2 / error)
    for _ in range(repeats):
        for row in report.rows:
            started, cpu = time.perf_counter(), time.process_time()
            row.job(picture)
            row.seconds = min(row.seconds, time.perf_counter() - started)
            row.cpu_s = min(row.cpu_s, time.process_time() - cpu)


def on_cpu(path: Path, options: argparse.Namespace) -> Report:
    """Return all rows for a square picture on the CPU; those of a student stand against the full network too."""
    network, _, _ = load_model(path)
    size_px, student = options.size, options.student
    if options.pairs is not None:
        shown = phone_pictures(options.pairs, "blind", size_px, 1)[0]
        calibration = phone_pictures(options.pairs, "training", 256, CALIBRATION_PICTURES)
    else:
        shown, *calibration = pictures(512, CALIBRATION_PICTURES + 1)
        shown = pictures(size_px, 1)[0]
    if options.model is None:
        calibration = []
    report = Report(f"{size_px}² to {size_px * 5 // 2}², 8 bits in and out, {torch.get_num_threads()} threads")
    report.rows = [
        Row("torch eager fp32", eager(network)),
        Row("torch fp32 channels_last", channels_last(network, torch.float32)),
        Row("torch bf16 channels_last", channels_last(network, torch.bfloat16)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "plain.onnx"
        with contextlib.suppress(UserError):
            export_onnx(path, exported)
            report.rows.append(Row("ONNX Runtime fp32", onnx_runtime(exported)))
            if importlib.util.find_spec("openvino") is not None:
                report.rows += [Row(f"OpenVINO {hint}", openvino(exported, hint, size_px)) for hint in ("f32", "bf16")]
        report.rows += ours(path, calibration)
        if student is not None:
            report.rows += [replace(row, name=f"student, {row.name}") for row in ours(student, calibration)]
        measure(report, shown, options.repeats)
    return report


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--student", type=Path, help="a small network distilled from the model")
    parser.add_argument("--pairs", type=Path, help="a pair file whose phone pictures are enhanced")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or Path(folder) / "random.pt"
        if options.model is None:
            network = EnhancementNetwork()
            network.initialise(0)
            with torch.no_grad():
                network.exit.bias.fill_(0.5)
            save_model(path, network, ModelCard(network.config, 0.925, 0.37, "random weights", "phone"))
        report = on_cpu(path, options)
    if options.json:
        rows = [{"name": r.name, "s": r.seconds, "cpu_s": r.cpu_s, "psnr_db": r.psnr_db} for r in report.rows]
        print(json.dumps({"cpu": rows}))
    else:
        report.show()


if __name__ == "__main__":
    main()
