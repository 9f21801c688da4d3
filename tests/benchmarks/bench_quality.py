"""How good the network is on blind slides of three stains of the twin, over several seeds of the training.

    python tests/benchmarks/bench_quality.py [--stains blood h&e trichrome] [--seeds 5] [--work DIR] [--models DIR]

Each stain is acquired once with the twin's truth at hand. The network is trained once for each seed with the preset
``quick``, here or elsewhere: ``--models`` names a folder of models ``<stain>-<seed>.pt`` trained on the same slides.
Peers on the same fields are bicubic enlargement, and the same with a colour matrix fitted on the training pairs.
Objects of the truth count as lost where the benchtop shows them and the enhanced picture does not, as invented where
it is the other way round. ``--work`` keeps what was acquired and trained, for the next run.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from truth_metrics import object_counts

from mobilescope.app.acquisition.acquiring import capture_job, open_writer, phone_half_pitch_um, scan_job
from mobilescope.app.demo import DemoOptions, describe_job
from mobilescope.app.instruments.instrument import build_instruments
from mobilescope.app.mosaics.mosaicking import stitch_slide
from mobilescope.app.pairs.pairing import register_session
from mobilescope.app.terminal.console import ProgressDisplay
from mobilescope.data.layout import pairs_path
from mobilescope.data.session import Session
from mobilescope.enhance.enhancer import Enhancer
from mobilescope.learn.evaluate import evaluate
from mobilescope.learn.presets import preset
from mobilescope.learn.train import train
from mobilescope.twin.truth import TruthLog

STAINS = ("blood", "h&e", "trichrome")
# SSIM gains of R18's Table 2 go from 0.14 to 0.32.
TARGETS = {"over bicubic": 0.14, "over matrix": 0.05, "CIE-94 ratio": 4.0}


def acquire(folder: Path, stain: str) -> TruthLog:
    """Scan, capture, stitch and register a stain's slides, unless the folder has them, and return the truth."""
    kept = folder / "truth.pickle"
    if kept.exists():
        return pickle.loads(kept.read_bytes())
    folder.mkdir(parents=True, exist_ok=True)
    config, plan = describe_job(DemoOptions(out=folder, stain=stain))
    (folder / "instrument.toml").write_text(tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)))
    session, truth = folder / "session.h5", TruthLog()
    with (
        ProgressDisplay() as progress,
        build_instruments(config, source=stain, truth=truth) as instruments,
        open_writer(session, plan, instruments) as writer,
    ):
        scan_job(writer, plan, instruments, on_progress=progress)
        capture_job(writer, plan, instruments, on_progress=progress)
    for slide in plan.slides:
        stitch_slide(session, slide.name)
    register_session(session)
    kept.write_bytes(pickle.dumps(truth))
    return truth


def judge(folder: Path, truth: TruthLog, model: Path) -> dict[str, Any]:
    """Return the blind scores of a model and what became of the truth's objects."""
    enhancer = Enhancer.from_checkpoint(model)
    with Session.open(folder / "session.h5") as session:
        cutoff_um = 2 * phone_half_pitch_um(session)
    found = evaluate(pairs_path(folder / "session.h5"), enhancer, enhancer.card, cutoff_um=cutoff_um)
    ssim = {method: found.interval(method, "ssim").mean for method in ("bicubic", "colour", "network")}
    raw, network = (found.interval(method, "cie94").mean for method in ("bicubic", "network"))
    objects = {
        method: {kind: asdict(count) for kind, count in kinds.items()}
        for method, kinds in object_counts(folder, truth, enhancer).items()
    }
    return {
        "fields": len(found.fields), "ssim": ssim, "over bicubic": ssim["network"] - ssim["bicubic"],
        "over matrix": ssim["network"] - ssim["colour"], "cie94": {"raw": raw, "network": network},
        "CIE-94 ratio": raw / network, "objects": objects,
    }


def show(title: str, figures: dict[str, Any]) -> None:
    """Print the figures of one model."""
    ssim, cie94 = figures["ssim"], figures["cie94"]
    verdicts = ", ".join(
        f"{name} {figures[name]:+.3f} {'ok' if figures[name] >= least else 'MISSED'}" for name, least in TARGETS.items()
    )
    print(
        f"{title}: {figures['fields']} fields, SSIM {ssim['bicubic']:.3f}, {ssim['colour']:.3f}, "
        f"{ssim['network']:.3f}; CIE-94 {cie94['raw']:.2f}, {cie94['network']:.2f}; {verdicts}"
    )
    for method, kinds in figures["objects"].items():
        shown = sum(count["shown"] for count in kinds.values())
        lost = sum(count["lost"] for count in kinds.values())
        invented = sum(count["invented"] for count in kinds.values())
        by_kind = ", ".join(
            f"{kind} {count['lost']} of {count['shown']}" for kind, count in sorted(kinds.items()) if count["shown"]
        )
        print(
            f"  {method}: {lost} of {shown} objects lost ({lost / max(1, shown):.2%}), {invented} invented "
            f"({invented / max(1, shown):.2%}); lost {by_kind}"
        )
    sys.stdout.flush()


def main() -> None:
    """Measure the stains asked for and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stains", nargs="+", choices=STAINS, default=list(STAINS))
    parser.add_argument("--seeds", type=int, default=5, help="seeds of the training")
    parser.add_argument("--work", type=Path, help="folder that keeps slides and models")
    parser.add_argument("--models", type=Path, help="folder of models trained elsewhere")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for stain in options.stains:
            key = stain.replace("&", "")
            folder = (options.work or Path(scratch)) / key
            truth = acquire(folder, stain)
            for seed in range(options.seeds):
                model = folder / f"model-{seed}.pt"
                if options.models is not None:
                    model = options.models / f"{key}-{seed}.pt"
                elif not model.exists() or model.with_name(f"{model.stem}.last.pt").exists():
                    settings = preset("quick").model_copy(update={"seed": seed})
                    with ProgressDisplay() as progress:
                        train(pairs_path(folder / "session.h5"), model, settings, on_progress=progress)
                results[f"{stain}, training seed {seed}"] = judge(folder, truth, model)
                show(f"{stain}, training seed {seed}", results[f"{stain}, training seed {seed}"])
    for name in TARGETS:
        values = [figures[name] for figures in results.values()]
        print(f"{name}: {min(values):.3f} to {max(values):.3f} over {len(values)} models")
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
