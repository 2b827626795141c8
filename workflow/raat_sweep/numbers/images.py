"""Which numbers of an item are of other images than most: data sets of one name that differ."""

from __future__ import annotations

from collections import defaultdict

import pandas as pd

from raat_sweep.numbers.gaps import Note
from raat_sweep.numbers.outcomes import Records

IMAGES_SENTENCE = "Measured on other images than most cells; such numbers may not compare:"


def notes_on_images(measured: pd.DataFrame, records: Records) -> list[Note]:
    """A note per data set's checksum that records of fewer cells have than of the same data set.

    Args:
        measured: from `measure`.
        records: that it was made of.
    """
    found: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    known = measured[measured["accuracy"].notna()]
    for row in known[["dataset", "cell", "record", "seed"]].itertuples(index=False):
        data = records.outcomes(str(row.cell), str(row.record)).data
        if data is not None:
            found[str(row.dataset)][data][str(row.cell)] = f" (seed {row.seed})"
    notes = []
    for dataset, by_data in found.items():
        most, *others = sorted(by_data, key=lambda data: (-len(by_data[data]), data))
        for data in others:
            reason = f"{dataset} {data[:12]}, unlike {len(by_data[most])} of {most[:12]}"
            notes.append(Note(reason, [(cell, seed, "") for cell, seed in by_data[data].items()]))
    return notes
