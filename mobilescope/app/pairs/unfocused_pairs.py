"""Pairs whose phone image is blurred beside the others of the session, which shows only when all are known."""

from __future__ import annotations

from mobilescope.data.pair_writer import PairWriter
from mobilescope.imaging.quality import GateThresholds, judge_focus, typical_detail

_DETAIL = "detail_transfer"


def refuse_unfocused(writer: PairWriter, thresholds: GateThresholds) -> int:
    """Refuse what was accepted but is out of focus beside the others of the file; return how many pairs those are."""
    details = {
        index: float(record.quality[_DETAIL]) for index, record in enumerate(writer.records())
        if record.accepted and _DETAIL in record.quality
    }
    typical = typical_detail(list(details.values()))
    if typical is None:
        return 0
    refused = 0
    for index, transfer in details.items():
        verdict = judge_focus(transfer, typical, thresholds)
        if not verdict.accepted:
            writer.refuse(index, verdict.reason)
            refused += 1
    return refused
