"""The record of where an enhanced picture comes from is complete, and the same picture has the same digest anywhere."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from mobilescope.enhance.provenance import ModelIdentity, digest_bands, digest_picture, record_provenance
from mobilescope.enhance.verdict import TrustReport
from mobilescope.learn.checkpoint import ModelCard, save_model
from mobilescope.learn.networks import EnhancementNetwork, NetworkConfig

TINY = NetworkConfig(first_width=4, blocks=1, growth=1)


@pytest.fixture
def model(tmp_path):
    network = EnhancementNetwork(TINY)
    network.initialise(0)
    path = tmp_path / "model.pt"
    save_model(path, network, ModelCard(TINY, 0.925, 0.37, "a twin", "phone"))
    return path


def picture(kind=np.uint16):
    return np.random.default_rng(0).integers(0, 256, (600, 7, 3)).astype(kind)


def test_a_record_names_model_input_settings_state_and_purpose(model):
    identity = ModelIdentity.of_file(model)
    trust = TrustReport("caution", ("blurred; refocus",), {"focus_level": 1.2, "other": float("nan")})
    noon = datetime(2024, 3, 1, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    record = record_provenance(identity, digest_picture(picture()), {"precision": "fp32"}, trust, now=noon).to_json()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["label"] == "computed image, not for diagnosis"
    assert record["model_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert record["time_utc"] == "2024-03-01T12:00:00+00:00"
    assert record["settings"] == {"precision": "fp32"}
    assert record["trust"] == {
        "state": "caution", "reasons": ["blurred; refocus"], "measures": {"focus_level": 1.2, "other": None},
    }


def test_without_a_time_the_present_is_recorded(model):
    record = record_provenance(ModelIdentity.of_file(model), "0" * 64, {}, None)
    assert abs(datetime.fromisoformat(record.time_utc) - datetime.now(UTC)) < timedelta(minutes=1)
    assert record.to_json()["trust"] is None


def test_the_weights_keep_their_digest_when_the_card_changes(model, tmp_path):
    network = EnhancementNetwork(TINY)
    network.initialise(0)
    other = tmp_path / "other.pt"
    save_model(other, network, ModelCard(TINY, 0.925, 0.37, "another twin", "phone"))
    first, second = ModelIdentity.of_file(model), ModelIdentity.of_file(other)
    assert first.weights_sha256 == second.weights_sha256
    assert first.file_sha256 != second.file_sha256


def test_a_digest_tells_values_type_and_shape_apart():
    changed = picture()
    changed[599, 6, 2] ^= 1
    pictures = [picture(), changed, picture(np.uint8), picture().reshape(700, 6, 3), picture(np.float32)]
    assert len({digest_picture(each) for each in pictures}) == len(pictures)


def test_a_digest_does_not_depend_on_layout_byte_order_or_bands():
    image = picture()
    expected = digest_picture(image)
    assert digest_picture(np.asfortranarray(image)) == expected
    assert digest_picture(image.astype(">u2")) == expected
    read_rows = []

    def read(rows, columns):
        read_rows.append(rows.stop - rows.start)
        return image[rows, columns]

    assert digest_bands(read, image.shape) == expected
    assert max(read_rows) <= 256
