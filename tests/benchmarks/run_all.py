"""Every benchmark, one after the other; the last figures stand in docs/benchmarks.md.

    make bench                                    all of them, about five hours on two cores
    make bench QUICK=1                            each that can be short, once and small: do they still run?
    python tests/benchmarks/run_all.py stitching  one of them

At the end stands what each took and whether it ran to its end; the exit status is 1 where one did not. Figures of a
quick run are not for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

# What makes each of them short; None where it trains networks, or needs finished jobs, and can't be.
BENCHMARKS: dict[str, list[str] | None] = {
    "session": ["--tiles", "6", "--repeats", "1"],
    "scan": ["--frame", "512", "--rows", "2", "--columns", "2", "--kills", "2"],
    "autofocus": ["--starts", "4", "--fields", "4", "--peer-starts", "2"],
    "focus_surface": [],
    "focus_policies": ["--side", "5", "--seeds", "1"],
    "stitching": ["--seeds", "1", "--repeats", "1"],
    "dng": ["--quick"],
    "jpeg_light": ["--quick"],
    "mosaic": ["--side", "3", "--tile", "512"],
    "registration": ["--pairs", "3", "--no-peers"],
    "gate": ["--pairs", "3"],
    "focus_gate": ["--fields", "5"],
    "pairing": ["--side", "1", "--kills", "2"],
    "retrieval": ["--quick"],
    "microscopes": [],
    "ring": ["--commands", "300"],
    "inference": ["--size", "128", "--repeats", "1"],
    "slides": ["--side", "1000"],
    "live": ["--seconds", "2"],
    "phone_page": ["--seconds", "2", "--stills", "2"],
    "gpu": ["--repeats", "2"],
    "training": ["--steps", "4", "--batch", "2"],
    "scale": ["--side", "320", "--captures", "2", "--sessions", "1", "--workers", "1", "--repeats", "1"],
    "trust": None,
    "evaluation": None,
    "quality": None,
    "job": None,
}


def main() -> int:
    """Run the benchmarks named on the command line, or all; return 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="small and once each; those that can't be are left out")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    rows = []
    for name in options.names or BENCHMARKS:
        short = BENCHMARKS[name]
        if options.quick and short is None:
            rows.append((name, "left out", 0.0))
            continue
        print(f"\n== {name} ==", flush=True)
        begun_s = time.monotonic()
        script = Path(__file__).with_name(f"bench_{name}.py")
        try:
            status = subprocess.run([sys.executable, script, *((short or []) if options.quick else [])], check=False)
        except KeyboardInterrupt:
            rows.append((name, "stopped", time.monotonic() - begun_s))
            break
        ended = "ran" if status.returncode == 0 else f"failed ({status.returncode})"
        rows.append((name, ended, time.monotonic() - begun_s))
    print("\n" + "\n".join(f"{name:16}{ended:14}{seconds:8.0f} s" for name, ended, seconds in rows))
    return int(any(ended not in ("ran", "left out") for _, ended, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
