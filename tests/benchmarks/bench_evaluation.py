"""Every table of the evaluation on the twin's three stains, as Markdown for docs/benchmarks.md.

    python tests/benchmarks/bench_evaluation.py
    python tests/benchmarks/bench_evaluation.py --jobs demos/blood demos/he demos/trichrome

Without finished jobs it makes one of each stain first, which takes about six minutes each on two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

STAINS = ("blood", "h&e", "trichrome")


def main() -> int:
    """Evaluate each job by itself, and all models on all sessions once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", type=Path, help="Folders of finished demo jobs.")
    parser.add_argument("--out", type=Path, help="Keep the reports here.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        jobs = arguments.jobs or [demo(Path(scratch) / stain.replace("&", ""), stain) for stain in STAINS]
        out = arguments.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        for number, job in enumerate(jobs):
            report(job, out / f"{job.name}.html", others=[] if number else jobs[1:])
    return 0


def demo(folder: Path, stain: str) -> Path:
    """Run a whole job with the command that a user runs."""
    command = [Path(sys.executable).with_name("mobilescope"), "demo", "--out", folder, "--specimen", stain]
    subprocess.run(command, check=True)
    return folder


def report(job: Path, path: Path, *, others: list[Path]) -> None:
    """Evaluate a job with everything, and print its tables."""
    from mobilescope.app.evaluation.evaluating import Extras, evaluate_session
    from mobilescope.app.evaluation.score_tables import colour_table, gain_table, method_table
    from mobilescope.app.terminal.console import ProgressDisplay
    from mobilescope.app.terminal.tables import Table

    def show(table: Table) -> None:
        print(f"\n### {table.title}\n")
        print("| " + " | ".join(table.columns) + " |\n|" + "---|" * len(table.columns))
        for row in table.rows:
            print("| " + " | ".join(row) + " |")
        if table.note:
            print(f"\n{table.note}")

    extras = Extras(
        jpeg=True, target=True, focus_stack=True, models=tuple(other / "model.pt" for other in others),
        sessions=tuple(other / "session.h5" for other in others),
    )
    print(f"\n## {job.name}", flush=True)
    with ProgressDisplay() as progress:
        result = evaluate_session(
            job / "session.h5", job / "model.pt", path, {}, extras=extras, on_progress=progress
        )
    tables = [method_table(result.evaluation), gain_table(result.evaluation), colour_table(result.evaluation)]
    for table in (*tables, *(table for section in result.sections() for table in section.tables)):
        show(table)


if __name__ == "__main__":
    sys.exit(main())
