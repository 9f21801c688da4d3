"""A dataset's card as files, for people and programs that don't read HDF5."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mobilescope.app.datasets.dataset_card import card_markdown
from mobilescope.core.whole_files import replaced_when_written


def write_cards(card: Mapping[str, Any], dataset: Path) -> list[Path]:
    """Write ``<stem>.card.json`` and ``<stem>.card.md`` beside a dataset and return them."""
    return write_card_files(card, dataset.with_name(f"{dataset.stem}.card"), dataset.stem)


def write_card_files(card: Mapping[str, Any], base: Path, title: str) -> list[Path]:
    """Write a card as ``base.json`` and ``base.md``, each whole or not at all."""
    texts = {".json": json.dumps(card, indent=1, ensure_ascii=False) + "\n", ".md": card_markdown(card, title)}
    written = []
    for ending, text in texts.items():
        path = base.with_name(base.name + ending)
        with replaced_when_written(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        written.append(path)
    return written
