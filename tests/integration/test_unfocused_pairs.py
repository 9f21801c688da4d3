"""Fields whose focus was missed, but not by so much that they would be refused without the others of their session."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pair_bench import FaultyPhone
from twin_sessions import stitched_session

from mobilescope import __version__
from mobilescope.app.pairs.pair_parts import Counted, PartJob, begin_parts, join_parts, make_part
from mobilescope.app.pairs.pairing import plan_pairing, register_session
from mobilescope.data.pairs import PairStore
from mobilescope.data.variants import PairVariant
from mobilescope.imaging.quality import GateThresholds, typical_detail
from mobilescope.plans.job import GridPlan, JobPlan, SlidePlan

SLIDE = "s"
PLAN = JobPlan(slides=(
    SlidePlan(
        name=SLIDE, role="training", scan=GridPlan(rows=3, columns=3, overlap=0.1),
        capture=GridPlan(rows=2, columns=3, overlap=0.1),
    ),
))
SOFT = 3


@pytest.fixture(scope="module")
def session(make_twin, tmp_path_factory):
    """A session of six fields of which one lies beyond the phone scope's depth of field."""
    twin = make_twin({SLIDE: "blood"}, frame_px=384, phone={"bayer_rows": 320, "bayer_columns": 320})
    twin = replace(twin, phone=FaultyPhone(twin.phone, "blurred", captures=(SOFT,), defocus_um=12.0))
    return stitched_session(tmp_path_factory.mktemp("soft") / "run.h5", twin, PLAN)


def assert_only_the_soft_one_is_refused(pairs):
    with PairStore.open(pairs) as store:
        records = store.records
    assert [number for number, record in enumerate(records) if not record.accepted] == [SOFT]
    reason = records[SOFT].reason
    assert reason.startswith("the phone image is blurred: ")
    assert "in other pairs of this session" in reason


def test_a_soft_field_is_refused_beside_the_others_of_its_session(session):
    result = register_session(session, workers=1)
    assert (result.accepted, result.refused) == (5, 1)
    assert_only_the_soft_one_is_refused(result.pairs)
    with PairStore.open(result.pairs) as store:
        details = [record.quality["detail_transfer"] for record in store.records]
    # Alone, it would have passed: nobody knows then how much detail this phone scope shows at its best.
    assert details[SOFT] > GateThresholds().least_detail_transfer
    assert typical_detail(details) > 0.9


def test_a_limit_of_the_share_can_be_lower(session, tmp_path):
    limits = GateThresholds(least_share_of_typical_detail=0.2)
    result = register_session(session, workers=1, thresholds=limits, out=tmp_path / "soft.h5")
    assert (result.accepted, result.refused) == (6, 0)


def test_pairs_that_were_made_one_by_one_are_compared_when_they_are_put_together(session, tmp_path):
    plan = plan_pairing(session, PairVariant(), GateThresholds())
    folder = tmp_path / "parts"
    begin_parts(folder, plan.provenance["made_of"])
    for number, (slide, capture) in enumerate(plan.jobs):
        cell, turn_deg = plan.cells[slide, capture.index], plan.turns_deg[slide, capture.index]
        job = PartJob(
            session, folder, number, capture, cell, plan.roles[slide], plan.variant, GateThresholds(), None, turn_deg
        )
        assert make_part(job, __version__)
    joined = tmp_path / "joined.h5"
    assert join_parts(folder, len(plan.jobs), joined, plan.provenance) == Counted(5, 1)
    assert_only_the_soft_one_is_refused(joined)
