"""The ring's link: faults over many commands, round trips on a board in real time, and how soon silence darkens it.

    python tests/benchmarks/bench_ring.py                     100,000 commands, some 10 minutes
    python tests/benchmarks/bench_ring.py --commands 10000 --board trinket
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from firmware.fault_run import run_faults
from firmware.ring_benches import firmware_of, open_bench

from mobilescope.core.ring_protocol import BOARDS, BoardKind
from mobilescope.devices.ring import Ring
from mobilescope.twin.ring_simulator import RingSimulator

ROUND_TRIPS = 300
SILENCES = 5


def faults(board: BoardKind, commands: int, share: float, seed: int) -> bool:
    """Print what came of mixed commands over a noisy line; False where a wrong light was acknowledged."""
    started_s = time.monotonic()
    report = run_faults(board, firmware_of(board), commands, share=share, seed=seed)
    errors = ", ".join(f"{count} {name}" for name, count in sorted(report.errors.items())) or "0 errors"
    print(
        f"{board.name}: {report.commands} commands, {share:.1%} of the bytes damaged both ways: "
        f"{report.acknowledged} acknowledged, {errors}, {len(report.wrong)} wrong; {report.retries} repeats; "
        f"{report.simulated_s:.0f} s simulated in {time.monotonic() - started_s:.0f} s"
    )
    for wrong in report.wrong[:10]:
        print("  ", wrong)
    return not report.wrong


def round_trips(board: BoardKind) -> None:
    """Print how long commands take on the simulated board in real time."""
    simulator = RingSimulator(board.name, firmware_of(board))
    with simulator, Ring.open(simulator.port, keep_alive=False) as ring:
        for what, act in (
            ("short command", ring.refresh),
            ("one pixel", lambda: ring.set_pixel(3, (1, 2, 3))),
            ("all 12 pixels", lambda: ring.set_pixels([(9, 8, 7)] * 12)),
        ):
            times_ms = []
            for _ in range(ROUND_TRIPS):
                started_s = time.perf_counter()
                act()
                times_ms.append(1000 * (time.perf_counter() - started_s))
            times_ms.sort()
            print(
                f"{board.name}: {what}: median {statistics.median(times_ms):.2f} ms, "
                f"95 % within {times_ms[int(0.95 * ROUND_TRIPS)]:.2f} ms"
            )


def silences(board: BoardKind) -> None:
    """Print after how long silence darkens the ring, by the board's time."""
    lasted_s = []
    for _ in range(SILENCES):
        with open_bench(f"{board.name} in lock-step") as bench, bench.ring() as ring:
            ring.fill((9, 9, 9))
            lit_s = bench.shows()[-1][0]
            bench.pass_time(2.5)
            dark_s = next(at_s for at_s, pixels in bench.shows() if at_s > lit_s and not any(map(any, pixels)))
            lasted_s.append(dark_s - lit_s)
    print(f"{board.name}: dark after {min(lasted_s):.3f} to {max(lasted_s):.3f} s of silence")


def main() -> int:
    """Run it; the exit status is 1 where a wrong light was acknowledged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=100_000)
    parser.add_argument("--share", type=float, default=0.01, help="share of damaged bytes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--board", choices=[board.name for board in BOARDS], default="uno")
    arguments = parser.parse_args()
    board = next(board for board in BOARDS if board.name == arguments.board)
    round_trips(board)
    silences(board)
    return 0 if faults(board, arguments.commands, arguments.share, arguments.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
