"""How far out of focus a phone's picture may be before its pair is refused, alone and beside others of its session.

    python tests/benchmarks/bench_focus_gate.py [--fields 6] [--json]

Captures of the twin's three specimens, the phone scope further and further from its focus: how much of the fine detail
arrives, how many pairs the gate accepts that knows nothing of the phone scope, and how many once that many pairs in
focus are known. Each capture has another place, lens and focus error of the twin's own (1 µm).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from known_warps import FIXED_UM, TWIN_SPECIMENS, twin_pair

from mobilescope.core.errors import RegistrationError
from mobilescope.imaging.quality import judge, judge_focus, typical_detail
from mobilescope.imaging.registration import register

DEFOCUS_UM = (4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0)


def measured(specimen: str, index: int, defocus_um: float):
    """Return the detail transfer of a capture and whether it is accepted by itself; (0, False) of one not placed."""
    pair = twin_pair(index, slide_seed=1, specimen=specimen, defocus_um=defocus_um)
    try:
        found = register(
            pair.moving, pair.fixed, moving_pixel_um=FIXED_UM * pair.factor, fixed_pixel_um=FIXED_UM
        )
    except RegistrationError:
        return 0.0, False
    return found.quality.detail_transfer, judge(found.quality).accepted


def main() -> None:
    """Measure, and print a row for each distance from the focus, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=6, help="captures of each specimen at each distance; 5 or more")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    if options.fields < 5:
        parser.error("--fields: fewer than five pairs do not tell what is typical")
    cv2.setNumThreads(1)
    rows, typical = [], {}
    for defocus_um in (0.0, *DEFOCUS_UM):
        for specimen in TWIN_SPECIMENS:
            number = 2000 + 100 * int(defocus_um)
            found = [measured(specimen, number + index, defocus_um) for index in range(options.fields)]
            details = [detail for detail, _ in found]
            if not defocus_um:
                typical[specimen] = typical_detail(details)
            alone = [accepted for _, accepted in found]
            beside = [
                accepted and judge_focus(detail, typical[specimen]).accepted for detail, accepted in found
            ]
            rows.append({
                "specimen": specimen, "defocus_um": defocus_um, "detail_transfer": [min(details), max(details)],
                "captures": len(found), "accepted_alone": sum(alone), "accepted_beside_others": sum(beside),
            })
            if not options.json:
                if len(rows) == 1:
                    print(f"{'specimen':12}{'off focus':>10}{'detail':>14}{'alone':>8}{'beside others':>15}")
                low, high = np.round(rows[-1]["detail_transfer"], 2)
                print(
                    f"{specimen:12}{defocus_um:7.0f} µm{f'{low:.2f}-{high:.2f}':>14}"
                    f"{f'{sum(alone)}/{len(found)}':>8}{f'{sum(beside)}/{len(found)}':>15}", flush=True,
                )
    if options.json:
        print(json.dumps({"benchmark": "focus_gate", "results": rows}))


if __name__ == "__main__":
    main()
