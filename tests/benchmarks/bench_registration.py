"""How exactly and how fast a phone field is registered where the true map is known, beside peers.

    python tests/benchmarks/bench_registration.py [--pairs 41] [--command] [--peer-python PYTHON] [--json]

Pairs: real images turned by as much as 15 degrees, made 2.2 to 2.7 times coarser, bent by a radial and a smooth warp of
as much as 6 phone pixels, of other colours, blurred and noisy; captures of the twin; a blood smear; a phone image of
1024 px in its neighbourhood of 2560 px; and ``recipes``, a case of an earlier measurement. Peers, for ``--peer-pairs``
of the drawn pairs and all others: a SIFT + RANSAC homography alone, the same with OpenCV's DIS optical flow, and with a
B-spline by elastix (mutual information) and by SimpleITK (correlation), where those are installed; ``--peer-python``
names the interpreter of another environment that has them. ``--command`` runs ours as ``mobilescope register MOVING
FIXED --map`` on saved pictures, without peers.

Errors are distances from the true place, where our map says that it rests on specimen, in phone ("moving") pixels.
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
TWIN_SHARE = 15 / 41
SCALE_TOLERANCE = 0.25
# In benchtop pixels; an earlier measurement of the ``recipes`` case used these settings.
ELASTIX_GRID_PX, ELASTIX_ITERATIONS = 100.0, 500
SIMPLEITK_MESH, SIMPLEITK_SAMPLES = 8, 100_000
PEER_SECONDS = 200


@dataclass(frozen=True)
class Outcome:
    """Errors (phone pixels) and seconds of one tool on one field; what it said of itself, where it says anything."""

    median_px: float
    p95_px: float
    worst_px: float
    mean_fixed_px: float
    seconds: float
    accepted: bool = True
    expected_px: float | None = None
    elastic_s: float | None = None
    cpu_s: float | None = None
    elastic_cpu_s: float | None = None


def make_cases(count: int) -> dict:
    """Return named pairs, ``count`` of them drawn."""
    from known_warps import FIELDS, large_pair, real_pair, twin_pair
    from phone_pairs import PhoneModel, phone_pair, read_rgb

    twins = round(count * TWIN_SHARE)
    cases = {f"real {index:02d}": real_pair(index) for index in range(count - twins)}
    cases |= {f"twin {index:02d}": twin_pair(index) for index in range(twins)}
    cases["blood smear"] = phone_pair(read_rgb("blood/bccd_00012.jpg"), (160, 200), PhoneModel(), 1)
    cases["1024 in 2560"] = large_pair()
    recipes = PhoneModel(
        factor=2.1, scale=1, rotation_deg=7, barrel_px=6 / 2.1, wobble_px=0, lateral_colour_px=0, gamma=1, colour_mix=0
    )
    fields = [field.read()[:1000, :1000] for field in FIELDS[:7]]
    mosaic = np.vstack([np.hstack([fields[(3 * row + k) % len(fields)] for k in range(3)]) for row in range(3)])
    cases["recipes 1024"] = phone_pair(np.ascontiguousarray(mosaic[150:2550, 150:2550]), (1024, 1024), recipes, 3)
    return cases


def outcome(map_yx: np.ndarray, seconds: float, pair, counted: np.ndarray, **said) -> Outcome:
    """Compare a map with the truth over the pixels that count."""
    error = np.linalg.norm(map_yx - pair.truth_yx, axis=-1)[counted]
    moving = error / pair.factor
    return Outcome(
        float(np.median(moving)), float(np.percentile(moving, 95)), float(moving.max()), float(error.mean()), seconds,
        **said,
    )


def run_ours(pair, repeats: int = 1) -> tuple[Outcome, np.ndarray]:
    """Register with this project; return the best times, and where the map rests on specimen.

    The processor's time of all threads tells what a busy machine's clock hides.
    """
    from mobilescope.imaging import registration
    from mobilescope.imaging.quality import judge

    pixels = {"moving_pixel_um": FIXED_PIXEL_UM * pair.factor, "fixed_pixel_um": FIXED_PIXEL_UM}
    options = registration.RegistrationOptions(scale_tolerance=SCALE_TOLERANCE)
    results, cpu_s, elastic_cpu_s = [], [], []
    stages = {name: getattr(registration, name) for name in ("pyramid_field", "refined_field")}
    for _ in range(repeats):
        spent: list[float] = []
        for name, stage in stages.items():
            setattr(registration, name, counted_stage(stage, spent))
        begun_s = time.process_time()
        try:
            results.append(registration.register(pair.moving, pair.fixed, **pixels, options=options))
        finally:
            for name, stage in stages.items():
                setattr(registration, name, stage)
        cpu_s.append(time.process_time() - begun_s)
        elastic_cpu_s.append(sum(spent))
    result = results[-1]
    said = {
        "accepted": judge(result.quality).accepted, "expected_px": result.quality.expected_median_px,
        "elastic_s": min(each.elastic_seconds for each in results), "cpu_s": min(cpu_s),
        "elastic_cpu_s": min(elastic_cpu_s),
    }
    seconds = min(each.seconds for each in results)
    return outcome(result.map_yx, seconds, pair, result.supported, **said), result.supported


def counted_stage(stage, spent: list[float]):
    """Return a stage that adds the processor's seconds it takes."""
    def run(*arguments, **keywords):
        begun_s = time.process_time()
        try:
            return stage(*arguments, **keywords)
        finally:
            spent.append(time.process_time() - begun_s)

    return run


def run_command(pair, folder: Path) -> tuple[Outcome | None, str]:
    """Register saved pictures by the command; nothing and the reason where it refuses."""
    import cv2

    moving, fixed, answer = folder / "moving.png", folder / "fixed.png", folder / "map.npz"
    cv2.imwrite(str(moving), np.ascontiguousarray(pair.moving[..., ::-1]))
    cv2.imwrite(str(fixed), np.ascontiguousarray(pair.fixed[..., ::-1]))
    answer.unlink(missing_ok=True)
    finished = subprocess.run(
        [sys.executable, "-c", "from mobilescope.app.cli import main; main()", "register", moving, fixed,
         "--map", answer, "--json", "--moving-pixel-um", str(FIXED_PIXEL_UM * pair.factor),
         "--fixed-pixel-um", str(FIXED_PIXEL_UM)],
        capture_output=True, text=True, check=False,
    )
    if finished.returncode not in (0, 3):
        raise RuntimeError(finished.stderr)
    told = json.loads(finished.stdout)
    if finished.returncode == 3:
        return None, told["reason"]
    with np.load(answer) as stored:
        said = {"expected_px": told["residual_px"]}
        return outcome(stored["map_yx"], told["seconds"], pair, stored["supported"], **said), ""


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
    moving = (moving // 257).astype(np.uint8) if moving.dtype == np.uint16 else moving
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


def run_flow(pair, begun: Start, counted: np.ndarray) -> Outcome:
    """Refine the homography by DIS optical flow."""
    import cv2

    start = time.perf_counter()
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(begun.moving, begun.drawn, None)
    return outcome(begun.map_after(flow), begun.seconds + time.perf_counter() - start, pair, counted)


def run_spline(pair, begun: Start, counted: np.ndarray, python: str, tool: str) -> Outcome:
    """Refine the homography by a peer's B-spline, in a process of its own; its start-up is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        place, answer = Path(folder) / "in.npz", Path(folder) / "out.npz"
        grid = ELASTIX_GRID_PX / pair.factor
        np.savez(place, moving=begun.moving, drawn=begun.drawn, grid=grid)
        command = [python, str(Path(__file__).resolve()), "--peer-worker", tool, str(place), str(answer)]
        finished = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PEER_SECONDS, cwd=folder
        )
        if finished.returncode != 0 or not answer.exists():
            raise RuntimeError(finished.stderr.strip().splitlines()[-1] if finished.stderr.strip() else "it crashed")
        saved = np.load(answer)
        return outcome(begun.map_after(saved["field"]), begun.seconds + float(saved["seconds"]), pair, counted)


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


def run_case(pair, python: str, splines: list[str] | None, repeats: int) -> tuple[dict[str, Outcome], list[str]]:
    """Return each tool's outcome, and a line for each that failed; ours alone where ``splines`` is None."""
    from mobilescope.core.errors import RegistrationError

    try:
        ours, counted = run_ours(pair, repeats)
    except RegistrationError as error:
        return {}, [f"ours refused it: {error}"]
    results, failures = {"ours": ours}, []
    if splines is None:
        return results, failures
    begun = start_peers(pair)
    still = np.zeros((*begun.moving.shape, 2))
    results["homography"] = outcome(begun.map_after(still), begun.seconds, pair, counted)
    results["DIS flow"] = run_flow(pair, begun, counted)
    for tool in splines:
        try:
            results[tool] = run_spline(pair, begun, counted, python, tool)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            failures.append(f"{tool} failed: {error}")
    return results, failures


def main() -> None:
    """Run all cases and print tables, or JSON."""
    parser = argparse.ArgumentParser(description="Registration of fields with a known warp, ours beside peers.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--pairs", type=int, default=41, help="how many drawn pairs, of the twin and of real images")
    parser.add_argument("--command", action="store_true", help="ours alone, as a command on saved pictures")
    parser.add_argument("--peer-pairs", type=int, default=8, help="drawn pairs that the peers get, too")
    parser.add_argument("--repeats", type=int, default=1, help="ours: the best time of so many")
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has itk-elastix and SimpleITK")
    # The peers' interpreter runs this same file and need not have our packages: they are imported where used.
    parser.add_argument("--peer-worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer_worker:
        peer_worker(*options.peer_worker)
        return
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    alone = options.command or options.no_peers
    splines, notes = ([], []) if alone else available(options.peer_python)
    cases = make_cases(options.pairs)
    # The first call pays for OpenCV's and SciPy's start.
    run_ours(cases["blood smear"])
    report = []
    with tempfile.TemporaryDirectory() as folder:
        for count, (name, pair) in enumerate(cases.items()):
            few = alone or (name[:4] in ("real", "twin") and count % max(1, options.pairs // options.peer_pairs))
            if options.command:
                found, reason = run_command(pair, Path(folder))
                results, failures = ({"ours": found}, []) if found else ({}, [f"refused: {reason}"])
            else:
                results, failures = run_case(pair, options.peer_python, None if few else splines, options.repeats)
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
    print_summary([results for name, results in report if name[:4] in ("real", "twin") and results])
    for line in notes:
        print(line)


def print_case(name: str, results: dict[str, Outcome], *, first: bool) -> None:
    """Print one line per tool; the last columns are its figures over ours."""
    if first:
        print(
            f"{'case':16}{'tool':12}{'median':>8}{'p95':>8}{'worst':>8}{'expected':>10}{'fixed px':>10}{'s':>8}"
            f"{'elastic s':>11}{'cpu s':>8}{'elastic':>9}{'median':>12}{'s':>8}"
        )
    if not results:
        print(f"{name:16}refused")
        return
    ours = results["ours"]
    for tool, found in results.items():
        expected = "" if found.expected_px is None else f"{found.expected_px:.3f}"
        elastic, cpu, elastic_cpu = (
            "" if each is None else f"{each:.2f}" for each in (found.elastic_s, found.cpu_s, found.elastic_cpu_s)
        )
        print(
            f"{name if tool == 'ours' else '':16}{tool:12}{found.median_px:8.3f}{found.p95_px:8.3f}"
            f"{found.worst_px:8.3f}{expected:>10}{found.mean_fixed_px:10.3f}{found.seconds:8.2f}{elastic:>11}"
            f"{cpu:>8}{elastic_cpu:>9}"
            f"{found.median_px / ours.median_px:11.1f}x{found.seconds / ours.seconds:7.1f}x"
            f"{'' if found.accepted else '  refused by the gate'}",
            flush=True,
        )


def print_summary(pairs: list[dict[str, Outcome]]) -> None:
    """Print what the drawn pairs come to, tool by tool; ratios are medians over pairs, each against ours."""
    from scipy.stats import spearmanr

    print(f"\n{len(pairs)} drawn pairs: medians over pairs (and the worst pair)")
    for tool in dict.fromkeys(tool for results in pairs for tool in results):
        found = [results[tool] for results in pairs if tool in results]
        ours = [results["ours"] for results in pairs if tool in results]
        median, p95 = ([getattr(each, key) for each in found] for key in ("median_px", "p95_px"))
        error, time_ratio = (
            np.median([getattr(each, key) / getattr(own, key) for each, own in zip(found, ours, strict=True)])
            for key in ("median_px", "seconds")
        )
        print(
            f"{tool:12} {len(found):3} pairs  median {np.median(median):.3f} ({max(median):.3f})  "
            f"p95 {np.median(p95):.3f} ({max(p95):.3f})  "
            f"error {error:.1f}x  time {time_ratio:.1f}x"
        )
    ours = [results["ours"] for results in pairs]
    expected, true = np.array([each.expected_px for each in ours]), np.array([each.median_px for each in ours])
    print(
        f"expected against true median: Spearman {spearmanr(expected, true)[0]:.2f}, true / expected "
        f"{np.median(true / expected):.2f} (10th to 90th percentile {np.percentile(true / expected, 10):.2f} to "
        f"{np.percentile(true / expected, 90):.2f})"
    )


if __name__ == "__main__":
    main()
