"""Cells of record: those of our configs, which may lie finished on somebody's disk."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from raat_sweep.config.reading import read_config_file
from raat_sweep.plan.plan import Plan

ROOT = Path(__file__).resolve().parents[1]
RECORDED = json.loads((ROOT / "tests/raat_core/digests.json").read_text())


@pytest.mark.parametrize(
    ("config", "count"),
    [("config/config.yaml", 297), ("config/released.yaml", 297), ("config/demo.yaml", 42)],
)
def test_names_of_all_cells_are_as_they_were(config: str, count: int) -> None:
    """A checksum of all names, which hold the digests: see `test_digests_of_record`."""
    names = sorted(Plan(read_config_file(ROOT / config)).cells)
    assert len(names) == count
    assert hashlib.sha256("\n".join(names).encode()).hexdigest() == RECORDED[config]
