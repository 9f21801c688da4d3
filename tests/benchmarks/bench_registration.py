"""How exactly and how fast a phone field is registered, on degraded real tissue with a known warp, beside peers.

Run ``python tests/benchmarks/bench_registration.py [--json] [--peer-python PYTHON]``. Peers: a SIFT + RANSAC
homography alone, the same with OpenCV's DIS optical flow, and with a B-spline by elastix (mutual information) and by
SimpleITK (correlation), where those are installed; ``--peer-python`` names the interpreter of another environment
that has them. Each phone image is 2.5 times coarser, blurred, noisy, of other colours, rotated, scaled,
barrel-distorted, locally warped by up to 1 px and has laterally displaced colours; ``recipes`` is a milder, larger
case. Errors are distances from the true place over the whole field, in phone ("moving") and benchtop ("fixed") pixels.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FIXED_PIXEL_UM = 0.37
TISSUE = ("mr_18-5592", "mr_38-6178", "mr_49-4488", "mr_A7-A13E", "mr_AR-A1AS", "mr_AY-A8YK", "mr_B0-5710")
# In benchtop pixels; an earlier measurement of the ``recipes`` case used these settings.
ELASTIX_GRID_PX, ELASTIX_ITERATIONS = 100.0, 500
SIMPLEITK_MESH, SIMPLEITK_SAMPLES = 8, 100_000
PEER_SECONDS = 300


@dataclass(frozen=True)
class Outcome:
    """Errors (phone pixels) and seconds of one tool on one field."""

    median_px: float
    p95_px: float
    worst_px: float
    mean_fixed_px: float
    median_fixed_px: float
    seconds: float


def make_cases() -> dict:
    """Return named pairs."""
    from phone_pairs import PhoneModel, phone_pair, read_rgb

    fields = [read_rgb(f"he_monuseg_train/{name}.tif") for name in TISSUE]
    rotations, scales = (-5, 5, 3, -2, 0, 1, 4), (0.98, 1.02, 1, 1.01, 0.99, 1, 1.015)
    cases = {
        f"tissue {name}": phone_pair(field, (256, 256), PhoneModel(rotation_deg=angle, scale=scale), 100 + index)
        for index, (name, field, angle, scale) in enumerate(zip(TISSUE, fields, rotations, scales, strict=True))
    }
    slide = read_rgb("wsi/cmu1_small_region.svs")[900:1800, 600:1500]
    cases["slide region"] = phone_pair(slide, (256, 256), PhoneModel(), 1)
    cases["blood smear"] = phone_pair(read_rgb("blood/bccd_00012.jpg"), (160, 200), PhoneModel(), 1)
    mosaic = np.vstack([np.hstack([fields[(3 * row + k) % len(fields)] for k in range(3)]) for row in range(3)])
    large = PhoneModel(factor=2.37, wobble_scale_px=80)
    cases["large 1024"] = phone_pair(mosaic[:2700, :2700], (1024, 1024), large, 3)
    recipes = PhoneModel(
        factor=2.1, scale=1, rotation_deg=7, barrel_px=6 / 2.1, wobble_px=0, lateral_colour_px=0, gamma=1, colour_mix=0
    )
    cases["recipes 1024"] = phone_pair(np.ascontiguousarray(mosaic[150:2550, 150:2550]), (1024, 1024), recipes, 3)
    return cases


def outcome(map_yx: np.ndarray, seconds: float, pair) -> Outcome:
    """Compare a map with the truth."""
    error = np.linalg.norm(map_yx - pair.truth_yx, axis=-1)
    moving = error / pair.factor
    return Outcome(
        float(np.median(moving)), float(np.percentile(moving, 95)), float(moving.max()),
        float(error.mean()), float(np.median(error)), seconds,
    )


def run_ours(pair) -> Outcome:
    """Register with this project."""
    from mobilescope.imaging.registration import register

    start = time.perf_counter()
    result = register(
        pair.moving, pair.fixed, moving_pixel_um=FIXED_PIXEL_UM * pair.factor, fixed_pixel_um=FIXED_PIXEL_UM
    )
    return outcome(result.map_yx, time.perf_counter() - start, pair)


@dataclass(frozen=True, eq=False)
class Start:
    """What every peer starts from: a homography, and the fixed image drawn through it as bytes."""

    homography: np.ndarray
    moving: np.ndarray
    drawn: np.ndarray
    seconds: float

    def map_after(self, displacement_xy: np.ndarray) -> np.ndarray:
        """Return the map (row, column) that moves by (x, y) pixels first and then through the homography."""
        rows, columns = self.moving.shape
        x, y = np.meshgrid(np.arange(columns, dtype=float), np.arange(rows, dtype=float))
        points = np.stack([x + displacement_xy[..., 0], y + displacement_xy[..., 1], np.ones_like(x)], axis=-1)
        mapped = points @ self.homography.T
        return (mapped[..., :2] / mapped[..., 2:])[..., ::-1]


def start_peers(pair) -> Start:
    """Return the textbook homography: SIFT at a common pitch, ratio test, RANSAC."""
    import cv2

    start = time.perf_counter()
    moving, fixed = pair.moving[..., 1].copy(), pair.fixed[..., 1].copy()
    size = (round(fixed.shape[1] / pair.factor), round(fixed.shape[0] / pair.factor))
    small = cv2.resize(fixed, size, interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT.create(nfeatures=4000)
    (points, words), (places, others) = (sift.detectAndCompute(image, None) for image in (moving, small))
    nearest = cv2.BFMatcher().knnMatch(words, others, k=2)
    pairs = [(first, second) for first, second in nearest if first.distance < 0.75 * second.distance]
    source = np.float32([points[first.queryIdx].pt for first, _ in pairs])
    scale = np.array(fixed.shape[::-1]) / size
    target = np.float32([(np.array(places[first.trainIdx].pt) + 0.5) * scale - 0.5 for first, _ in pairs])
    cv2.setRNGSeed(0)
    homography, _ = cv2.findHomography(source, target, cv2.RANSAC, 2.0 * pair.factor)
    soft = cv2.GaussianBlur(fixed, (0, 0), 0.7 * pair.factor)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpPerspective(soft, homography, moving.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    # The peers compare brightness: give the drawn image the phone's mean and contrast.
    matched = (drawn - drawn.mean()) * (moving.std() / drawn.std()) + moving.mean()
    drawn = np.clip(np.round(matched), 0, 255).astype(np.uint8)
    return Start(homography, moving, drawn, time.perf_counter() - start)


def run_flow(pair, begun: Start) -> Outcome:
    """Refine the homography by DIS optical flow."""
    import cv2

    start = time.perf_counter()
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(begun.moving, begun.drawn, None)
    return outcome(begun.map_after(flow), begun.seconds + time.perf_counter() - start, pair)


def run_spline(pair, begun: Start, python: str, tool: str) -> Outcome:
    """Refine the homography by a peer's B-spline, in a process of its own; its start-up is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        place, answer = Path(folder) / "in.npz", Path(folder) / "out.npz"
        grid = ELASTIX_GRID_PX / pair.factor
        np.savez(place, moving=begun.moving, drawn=begun.drawn, grid=grid)
        command = [python, str(Path(__file__).resolve()), "--peer-worker", tool, str(place), str(answer)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PEER_SECONDS)
        if finished.returncode != 0 or not answer.exists():
            raise RuntimeError(finished.stderr.strip().splitlines()[-1] if finished.stderr.strip() else "it crashed")
        saved = np.load(answer)
        return outcome(begun.map_after(saved["field"]), begun.seconds + float(saved["seconds"]), pair)


def peer_worker(tool: str, place: str, answer: str) -> None:
    """Register a saved pair in this interpreter and save the displacement (rows, columns, xy) and the seconds."""
    saved = np.load(place)
    work = {"elastix": elastix_field, "SimpleITK": simpleitk_field}[tool]
    moving, drawn = saved["moving"].astype(np.float32), saved["drawn"].astype(np.float32)
    field, seconds = work(moving, drawn, float(saved["grid"]))
    np.savez(answer, field=field, seconds=seconds)


def elastix_field(moving: np.ndarray, drawn: np.ndarray, grid_px: float) -> tuple[np.ndarray, float]:
    """Return elastix's displacement from the moving grid into the drawn image, and its seconds."""
    import itk

    parameters = itk.ParameterObject.New()
    bspline = parameters.GetDefaultParameterMap("bspline", 3, grid_px)
    bspline["MaximumNumberOfIterations"] = [str(ELASTIX_ITERATIONS)]
    bspline["Registration"] = ["MultiResolutionRegistration"]
    bspline["Metric"] = ["AdvancedMattesMutualInformation"]
    parameters.AddParameterMap(bspline)
    start = time.perf_counter()
    # In elastix's words the grid that is kept is "fixed" and the image that is drawn onto it "moving".
    grid, image = itk.image_view_from_array(moving), itk.image_view_from_array(drawn)
    _, found = itk.elastix_registration_method(grid, image, parameter_object=parameters, log_to_console=False)
    field = itk.array_from_image(itk.transformix_deformation_field(image, found))
    return field, time.perf_counter() - start


def simpleitk_field(moving: np.ndarray, drawn: np.ndarray, grid_px: float) -> tuple[np.ndarray, float]:
    """Return SimpleITK's displacement from the moving grid into the drawn image, and its seconds."""
    import SimpleITK

    start = time.perf_counter()
    grid, image = SimpleITK.GetImageFromArray(moving), SimpleITK.GetImageFromArray(drawn)
    transform = SimpleITK.BSplineTransformInitializer(grid, [SIMPLEITK_MESH] * 2)
    method = SimpleITK.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(min(1.0, SIMPLEITK_SAMPLES / moving.size))
    method.SetOptimizerAsLBFGSB(gradientConvergenceTolerance=1e-6, numberOfIterations=60)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(grid, image)
    filled = SimpleITK.TransformToDisplacementField(
        transform, SimpleITK.sitkVectorFloat64, grid.GetSize(), grid.GetOrigin(), grid.GetSpacing(), grid.GetDirection()
    )
    return SimpleITK.GetArrayFromImage(filled), time.perf_counter() - start


def available(python: str) -> tuple[list[str], list[str]]:
    """Return the spline peers that this interpreter has, and a line for each that it has not."""
    found, missing = [], []
    for tool, module in (("elastix", "from itk import elastix_registration_method"), ("SimpleITK", "import SimpleITK")):
        try:
            finished = subprocess.run([python, "-c", module], capture_output=True, check=False)
        except OSError as error:
            missing.append(f"{tool} not run: {python} can't be started ({error})")
            continue
        if finished.returncode == 0:
            found.append(tool)
        else:
            missing.append(f"{tool} not run: {python} has none (give --peer-python)")
    return found, missing


def run_case(pair, python: str, splines: list[str]) -> tuple[dict[str, Outcome], list[str]]:
    """Return each tool's outcome, and a line for each that failed."""
    begun = start_peers(pair)
    results = {"ours": run_ours(pair)}
    results["homography"] = outcome(begun.map_after(np.zeros((*begun.moving.shape, 2))), begun.seconds, pair)
    results["DIS flow"] = run_flow(pair, begun)
    failures = []
    for tool in splines:
        try:
            results[tool] = run_spline(pair, begun, python, tool)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            failures.append(f"{tool} failed: {error}")
    return results, failures


def main() -> None:
    """Run all cases and print a table, or JSON."""
    parser = argparse.ArgumentParser(description="Registration of fields with a known warp, ours beside peers.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has itk-elastix and SimpleITK")
    # The peers' interpreter runs this same file and need not have our packages: they are imported where used.
    parser.add_argument("--peer-worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer_worker:
        peer_worker(*options.peer_worker)
        return
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    splines, notes = available(options.peer_python)
    cases = make_cases()
    # The first call pays for OpenCV's and SciPy's start.
    run_ours(next(iter(cases.values())))
    report = []
    for name, pair in cases.items():
        results, failures = run_case(pair, options.peer_python, splines)
        notes.extend(f"{name}: {line}" for line in failures)
        report.append((name, results))
        if not options.json:
            print_case(name, results, first=len(report) == 1)
    if options.json:
        rows = [
            {"case": name, "tools": {tool: vars(found) for tool, found in results.items()}} for name, results in report
        ]
        print(json.dumps({"benchmark": "registration", "notes": notes, "results": rows}))
        return
    for line in notes:
        print(line)


def print_case(name: str, results: dict[str, Outcome], *, first: bool) -> None:
    """Print one line per tool; the last columns are its figures over ours."""
    if first:
        print(
            f"{'case':20}{'tool':12}{'median':>8}{'p95':>8}{'worst':>8}{'median':>10}{'mean':>8}{'s':>8}"
            f"{'median':>10}{'s':>8}\n{'':32}{'moving px':>24}{'fixed px':>18}{'':8}{'over ours':>18}"
        )
    ours = results["ours"]
    for tool, found in results.items():
        print(
            f"{name if tool == 'ours' else '':20}{tool:12}{found.median_px:8.3f}{found.p95_px:8.3f}"
            f"{found.worst_px:8.3f}{found.median_fixed_px:10.3f}{found.mean_fixed_px:8.3f}{found.seconds:8.2f}"
            f"{found.median_px / ours.median_px:9.1f}x{found.seconds / ours.seconds:7.1f}x"
        )


if __name__ == "__main__":
    main()
