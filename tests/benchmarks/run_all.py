"""Every benchmark, one after the other; the last figures stand in docs/benchmarks.md.

    make bench                                    all of them, about five hours on two cores
    python tests/benchmarks/run_all.py stitching  one of them
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = (
    "session", "scan", "autofocus", "focus_surface", "focus_policies", "stitching", "mosaic", "registration",
    "microscopes", "ring", "inference", "slides", "live", "gpu", "training", "trust", "evaluation", "quality", "job",
)


def main() -> int:
    """Run the benchmarks named on the command line, or all; return the number that failed."""
    wanted = sys.argv[1:] or BENCHMARKS
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        print(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    failed = 0
    for name in wanted:
        print(f"\n== {name} ==", flush=True)
        script = Path(__file__).with_name(f"bench_{name}.py")
        failed += subprocess.run([sys.executable, script], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
