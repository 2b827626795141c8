"""Tables: means, marks and gaps against numbers worked out by hand or printed in the paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from raat_core.cells.folder import CellFolder
from raat_core.errors import UserError
from raat_core.files.checksums import write_sealed_json
from raat_sweep.numbers.accuracies import summarise
from raat_sweep.numbers.best import BEST_SENTENCE, notes_on_best
from raat_sweep.numbers.cited import summarise_cited
from raat_sweep.numbers.derived import derive
from raat_sweep.numbers.gaps import Note
from raat_sweep.numbers.improvement import improvement
from raat_sweep.numbers.outcomes import Records
from raat_sweep.tables.files import to_latex, to_markdown, write_table
from raat_sweep.tables.layout import lay_out
from record_files import write_records_of

TITLES = {"clean": "Clean", "aa": "AA"}


def cells(
    method: str = "RAAT",
    clean: Sequence[float] = (80.0, 82.0),
    aa: Sequence[float] = (40.0, 41.0),
    samples: int | None = None,
    **names: str,
) -> list[dict[str, Any]]:
    """Measurements of one row of a table, a seed per value; NaN is a gap."""
    place = {
        "dataset": "CIFAR-10",
        "architecture": "ResNet-18",
        "norm": "linf",
        "epsilon": "8/255",
        "method": method,
        "variant": "paper",
        **names,
    }
    return [
        {
            **place,
            "seed": seed,
            "metric": metric,
            "cell": "_".join([*place.values(), f"s{seed}"]).replace("/", "-"),
            "record": f"best_{metric}",
            "accuracy": accuracy,
            "samples": 0 if math.isnan(accuracy) else samples or size,
            "gap": "not attacked" if math.isnan(accuracy) else "",
            "log": "",
        }
        for metric, size, accuracies in (("clean", 360, clean), ("aa", 60, aa))
        for seed, accuracy in enumerate(accuracies)
    ]


def markdown(rows: list[dict[str, Any]], ours: Sequence[str] = ()) -> str:
    return to_markdown(lay_out(pd.DataFrame(rows), TITLES, "A title", ours))


def latex(rows: list[dict[str, Any]], ours: Sequence[str] = (), title: str = "A title") -> str:
    return to_latex(lay_out(pd.DataFrame(rows), TITLES, title, ours), "tab:x")


def table_row(text: str, method: str) -> list[str]:
    """The places after the method in a Markdown row."""
    [line] = [line for line in text.splitlines() if f"| {method} |" in line]
    return [place.strip() for place in line.split("|")[3:-1]]


def test_summary_has_mean_sample_deviation_and_sizes() -> None:
    [row] = summarise(pd.DataFrame(cells()), list(TITLES)).to_dict("records")
    assert row["clean_mean"] == 81.0
    assert row["clean_std"] == pytest.approx(math.sqrt(2))
    assert (row["clean_n"], row["aa_n"], row["n_test"]) == (360, 60, 360)
    assert (row["n_seeds"], row["n_seeds_planned"]) == (2, 2)


def test_summary_keeps_the_order_of_first_appearance() -> None:
    rows = [*cells("TRADES"), *cells("MART"), *cells("RAAT"), *cells("MART", norm="l2")]
    summary = summarise(pd.DataFrame(rows), list(TITLES))
    assert list(summary["method"]) == ["TRADES", "MART", "RAAT", "MART"]


def test_gaps_and_single_seeds_stay_missing() -> None:
    rows = cells(clean=(80.0, math.nan), aa=(math.nan, math.nan))
    [row] = summarise(pd.DataFrame(rows), list(TITLES)).to_dict("records")
    assert row["clean_mean"] == 80.0
    assert math.isnan(row["clean_std"])
    assert math.isnan(row["aa_mean"])
    assert pd.isna(row["aa_n"])
    assert (row["clean_seeds"], row["aa_seeds"], row["n_seeds"]) == (1, 0, 0)
    assert row["n_seeds_planned"] == 2


def test_unequal_test_images_are_refused() -> None:
    rows = [*cells("RAAT"), *cells("MART")]
    rows[-1]["samples"] = 30
    with pytest.raises(UserError, match=r"aa on CIFAR-10 was measured on 30 and 60 test images"):
        summarise(pd.DataFrame(rows), list(TITLES))


PAPER_TABLE_5 = {
    "PGD-AT": (87.76, 68.82),
    "TRADES": (83.99, 68.74),
    "MART": (84.09, 68.96),
    "Cons-AT": (88.76, 70.21),
    "RAAT": (89.17, 69.76),
    "RAAT++": (86.54, 70.84),
}
"""CIFAR-10, ResNet-18, l2: clean and PGD-10."""


def paper_rows() -> list[dict[str, Any]]:
    return [
        row
        for method, (clean, pgd10) in PAPER_TABLE_5.items()
        for row in cells(method, [clean], [pgd10], norm="l2")
    ]


def test_improvement_is_the_papers() -> None:
    summary = summarise(pd.DataFrame(paper_rows()), list(TITLES))
    [gains] = improvement(summary, list(TITLES), ["RAAT", "RAAT++"]).to_dict("records")
    assert gains["clean"] == pytest.approx(100 * (89.17 - 88.76) / 88.76)
    assert table_row(markdown(paper_rows(), ["RAAT", "RAAT++"]), "↑ (%)") == ["+0.46%", "+0.90%"]


def test_improvement_counts_varied_settings_as_ours_but_not_other_labels() -> None:
    rows = [
        *cells("RAAT (eta = 0.1)", [50.0], [20.0]),
        *cells("RAAT (no BOUND)", [40.0], [25.0]),
        *cells("RAAT++", [25.0], [10.0]),
    ]
    summary = summarise(pd.DataFrame(rows), list(TITLES))
    [gains] = improvement(summary, list(TITLES), ["RAAT"]).to_dict("records")
    assert gains["clean"] == pytest.approx(25.0)
    assert gains["aa"] == pytest.approx(-20.0)
    assert table_row(markdown(rows, ["RAAT"]), "↑ (%)") == ["+25.00%", "−20.00%"]


@pytest.mark.parametrize("rival", [math.nan, 0.0])
def test_improvement_over_nothing_is_a_gap(rival: float) -> None:
    rows = [*cells("MART", aa=(rival, rival)), *cells("RAAT")]
    assert table_row(markdown(rows, ["RAAT"]), "↑ (%)") == ["+0.00%", "–"]


def test_improvement_does_not_mix_radii() -> None:
    rows = [*cells("MART", epsilon="4/255"), *cells("RAAT", epsilon="8/255")]
    gains = improvement(summarise(pd.DataFrame(rows), list(TITLES)), list(TITLES), ["RAAT"])
    assert gains["clean"].isna().tolist() == [True, True]


def test_best_of_a_column_within_a_data_set_is_bold() -> None:
    rows = [
        *cells("MART", (70.0, 72.0), (41.001, 42.001)),
        *cells("RAAT", (80.0, 82.0), (41.0, 42.0)),
        *cells("MART", (10.0, 12.0), (5.0, 5.0), dataset="CIFAR-100"),
    ]
    text = markdown(rows)
    assert "| CIFAR-10 | MART | 71.00 ± 1.41 | **41.50** ± 0.71 |" in text
    assert "|  | RAAT | **81.00** ± 1.41 | **41.50** ± 0.71 |" in text
    assert "| CIFAR-100 | MART | **11.00** ± 1.41 | **5.00** ± 0.00 |" in text


def test_gaps_are_marked_and_explained() -> None:
    rows = [
        *cells("MART", aa=(math.nan, math.nan)),
        *cells("RAAT", (math.nan,) * 2, (40, math.nan)),
    ]
    rows[6]["gap"] = rows[4]["gap"] = "not trained"
    text = markdown(rows)
    assert table_row(text, "MART") == ["**81.00** ± 1.41", "–"]
    assert table_row(text, "RAAT (n = 1 of 2)") == ["–", "**40.00**"]
    name = "CIFAR-10_ResNet-18_linf_8-255"
    assert f"- not attacked: `{name}_MART_paper_s0` (AA), `{name}_MART_paper_s1` (AA)" in text
    assert f"- not trained: `{name}_RAAT_paper_s0` (Clean)" in text
    assert f"`{name}_RAAT_paper_s1`" in text


def failed(why: str, seed: int = 1) -> list[dict[str, Any]]:
    """A row of which one seed is not trained, and a log says why."""
    rows = cells(clean=(80.0, math.nan), aa=(40.0, math.nan))
    for row in rows:
        if row["seed"] == seed:
            row.update(gap=f"not trained: {why}", log=f"results/logs/train/{row['cell']}.log")
    return rows


def test_failed_cells_are_listed_with_reason_and_log() -> None:
    why = "job 12_3 on n1: out of memory on n1: raise mem_mb"
    rows = [*failed(why), *cells("MART", aa=(40.0, math.nan))]
    name = "CIFAR-10_ResNet-18_linf_8-255"
    lines = markdown(rows).splitlines()
    assert lines[-2:] == [
        f"- not trained (job 12\\_3 on n1: out of memory on n1: raise mem\\_mb): "
        f"`{name}_RAAT_paper_s1`, log `results/logs/train/{name}_RAAT_paper_s1.log`",
        f"- not attacked: `{name}_MART_paper_s1` (AA)",
    ]


def test_reasons_are_short_below_a_table_and_whole_in_its_cells(tmp_path: Path) -> None:
    why = "x" * 150 + " and the end"
    rows = failed(why)
    note = markdown(rows).splitlines()[-1]
    assert f"({'x' * 138} …): `" in note
    item: dict[str, Any] = {
        "name": "t",
        "title": "",
        "metrics": TITLES,
        "ours": [],
        "checkpoint": "last",
        "cited": None,
        "derived": {},
    }
    write_table(pd.DataFrame(rows), item, tmp_path)
    tidy = pd.read_csv(tmp_path / "t.cells.csv")
    assert tidy["gap"].dropna().unique().tolist() == [f"not trained: {why}"]
    assert tidy["log"].dropna().unique().tolist() == [rows[1]["log"]]


def test_latex_escapes_what_logs_say() -> None:
    text = latex(failed("50% of \\x_1 & {y} # ~ ^ $z “quoted” λ …"))
    note = next(line for line in text.splitlines() if "not trained" in line)
    assert (
        r"not trained (50\% of \textbackslash{}x\_1 \& \{y\} \# \textasciitilde{} "
        r"\textasciicircum{} \$z ?quoted? $\lambda$ \dots{}): \texttt{CIFAR-\allowbreak{}10"
    ) in note
    assert r", log \texttt{results/\allowbreak{}logs/\allowbreak{}train/" in note
    assert text.isascii()


def test_numbers_of_fewer_seeds_than_their_row_say_so() -> None:
    text = markdown(cells(aa=(40.0, math.nan)))
    assert table_row(text, "RAAT (n = 1 to 2 of 2)") == ["**81.00** ± 1.41", "**40.00** (n = 1)"]


def test_a_table_without_any_value_is_made() -> None:
    rows = [
        *cells("MART", (math.nan,) * 2, (math.nan,) * 2),
        *cells("RAAT", (math.nan,), (math.nan,)),
    ]
    text = markdown(rows, ["RAAT"])
    assert table_row(text, "MART (n = 0 of 2)") == ["–", "–"]
    assert table_row(text, "↑ (%)") == ["–", "–"]
    assert "test images" not in text


def test_what_the_config_does_not_ask_for_is_empty_and_no_gap() -> None:
    text = markdown([*cells("MART"), *cells("RAAT", architecture="WRN")])
    assert table_row(text, "MART")[2:] == ["", ""]
    assert "–" not in text


def test_caption_says_threat_seeds_and_samples() -> None:
    caption = markdown([*cells("MART"), *cells("RAAT")], ["RAAT"]).splitlines()[0]
    assert caption.startswith("A title. ")
    assert "n = 2 seeds" in caption
    assert "ℓ∞, ε = 8/255" in caption
    assert "AA on 60 of 360 test images" in caption
    assert "n = 1 seed, without standard deviation" in markdown(cells(clean=[1.0], aa=[1.0]))


def test_unequal_plans_say_the_number_of_seeds_in_each_row() -> None:
    text = markdown([*cells("MART"), *cells("RAAT", (80.0,), (40.0,))])
    assert "n = 1 to 2 seeds as each row says" in text
    assert table_row(text, "MART (n = 2)")
    assert table_row(text, "RAAT (n = 1)")


def test_several_threat_models_stand_at_their_data_set() -> None:
    text = markdown([*cells(), *cells(norm="l2", epsilon="128/255")])
    assert "| CIFAR-10 (ℓ∞, ε = 8/255) | RAAT |" in text
    assert "| CIFAR-10 (ℓ₂, ε = 128/255) | RAAT |" in text
    assert "Threat model" not in text


def test_variants_are_shown_where_there_are_others() -> None:
    text = markdown([*cells("MART"), *cells("RAAT"), *cells("RAAT", variant="released")])
    assert "| MART |" in text
    assert "| RAAT (paper) |" in text
    assert "| RAAT (released) |" in text


def test_latex_is_escaped_and_balanced() -> None:
    rows = [*cells("A_1 & B#"), *cells("RAAT", aa=(math.nan, math.nan))]
    text = latex(rows, ["RAAT"], title="100% of {this} – η")
    assert r"\caption{100\% of \{this\} -- $\eta$." in text
    assert r"$\ell_\infty$, $\varepsilon$ = 8/255" in text
    assert r"A\_1 \& B\#" in text
    assert r"\textbf{81.00} $\pm$ 1.41" in text
    assert r"$\uparrow$ (\%) & +0.00\% & --" in text
    assert r"\multirow{3}{*}{\shortstack[l]{CIFAR-10}}" in text
    assert text.isascii()
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    for name in ("table", "tabular"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") == 1


def test_latex_rows_all_span_the_columns() -> None:
    rows = [*cells("MART"), *cells("MART", architecture="WRN"), *cells("RAAT")]
    body = [line for line in latex(rows, ["RAAT"]).splitlines() if line.endswith(r"\\")]
    # The row of architectures has two spans of two columns.
    assert [line.count(" & ") for line in body] == [3, 5, 5, 5, 5]
    assert r"\cmidrule(lr){3-4}\cmidrule(lr){5-6}" in latex(rows)


CITED: dict[str, Any] = {
    "path": "numbers.csv",
    "rows": [
        {
            "dataset": "CIFAR-10",
            "architecture": "ResNet-18",
            "norm": "linf",
            "epsilon": "8/255",
            "method": method,
            "source": "X'20",
            "metric": metric,
            "mean": mean,
            "std": std,
        }
        for method, metric, mean, std in (
            ("MMA", "clean", 85.0, 0.6),
            ("MMA", "aa", 30.0, math.nan),
            ("TE", "clean", 70.0, math.nan),
        )
    ],
}
DERIVED = {"mean": {"kind": "mean", "of": ["clean", "aa"]}}


def test_published_numbers_stand_first_marked_and_compete_for_bold(tmp_path: Path) -> None:
    rows = cells(clean=(80.0, 85.0), aa=(40.0, 45.0), samples=20)
    write_records_of(rows, tmp_path)
    measured = derive(pd.DataFrame(rows), DERIVED, Records(tmp_path))
    titles = {**TITLES, "mean": "Mean"}
    cited = summarise_cited(CITED, list(titles), DERIVED)
    layout = lay_out(measured, titles, "A title", [], cited=cited)
    text = to_markdown(layout)
    assert table_row(text, "MMA† (X'20)") == ["**85.00** ± 0.60", "30.00", "57.50"]
    assert table_row(text, "TE† (X'20)") == ["70.00", "", ""]
    assert table_row(text, "RAAT") == ["82.50 ± 3.54", "**42.50** ± 3.54", "**62.50** ± 3.54"]
    assert "† as published (numbers.csv), not measured here." in text.splitlines()[0]
    assert text.index("MMA") < text.index("| RAAT")
    assert r"MMA$^\dagger$ (X'20)" in to_latex(layout, "tab:x")


def test_a_derived_number_is_computed_even_where_it_is_published() -> None:
    first = CITED["rows"][0]
    published = {**first, "metric": "mean", "mean": 57.0}
    cited = {"path": "numbers.csv", "rows": [*CITED["rows"], published]}
    [mma, _] = summarise_cited(cited, ["mean"], DERIVED).to_dict("records")
    assert mma["mean_mean"] == 57.5


def test_halves_are_rounded_up() -> None:
    """(58.43 + 17.54) / 2 is printed as 37.99; its float is below 37.985."""
    places = table_row(markdown(cells(clean=(58.43, 17.54), aa=(56.04, 26.09))), "RAAT")
    assert [place.split()[0].strip("*") for place in places] == ["37.99", "41.07"]


def test_published_numbers_are_told_from_measured_ones_in_the_csv(tmp_path: Path) -> None:
    item = {
        "name": "t",
        "title": "A title",
        "metrics": TITLES,
        "ours": [],
        "checkpoint": "last",
        "cited": CITED,
        "derived": {},
    }
    write_table(pd.DataFrame(cells()), item, tmp_path)
    summary = pd.read_csv(tmp_path / "t.csv")
    assert summary[["method", "source", "clean_mean"]].to_numpy().tolist() == [
        ["MMA", "X'20", 85.0],
        ["TE", "X'20", 70.0],
        ["RAAT", "measured", 81.0],
    ]


def test_markdown_special_characters_are_escaped() -> None:
    assert r"| RAAT\* \| x |" in markdown(cells("RAAT* | x"))


def test_files_are_complete_and_the_same_on_a_second_write(tmp_path: Path) -> None:
    item = {
        "name": "t",
        "title": "A title",
        "metrics": TITLES,
        "ours": ["RAAT"],
        "checkpoint": "best",
        "selection": {"best": "Best checkpoint by PGD-10 on the validation split"},
        "cited": None,
        "derived": {},
    }
    frame = pd.DataFrame([*cells("MART", aa=(40.0, math.nan)), *cells("RAAT")])
    names = ["t.cells.csv", "t.csv", "t.md", "t.tex"]
    contents = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_table(frame, item, folder)
        caption = (folder / "t.md").read_text().splitlines()[0]
        assert "Best checkpoint by PGD-10 on the validation split." in caption
        assert sorted(path.name for path in folder.iterdir()) == names
        contents.append([(folder / name).read_bytes() for name in names])
    assert contents[0] == contents[1]
    summary = pd.read_csv(tmp_path / "a" / "t.csv")
    assert summary["clean_std"].tolist() == [1.4142, 1.4142]
    assert math.isnan(summary["aa_std"][0])
    tidy = pd.read_csv(tmp_path / "a" / "t.cells.csv")
    assert len(tidy) == len(frame)
    assert tidy["gap"].dropna().tolist() == ["not attacked"]


def test_warnings_of_noise_stand_below_the_table_with_row_and_seed(tmp_path: Path) -> None:
    rows = cells("RAAT")
    names = list(dict.fromkeys(row["cell"] for row in rows))
    best: dict[str, Any] = {"epoch": 1, "accuracy": 0.0, "chosen_by": "PGD-10 accuracy"}
    best["split"] = "test"
    for name, warnings in zip(names, (["chosen by noise: 0.00%"], []), strict=True):
        manifest = {
            "cell": name,
            "digest": "0",
            "finished": "now",
            "train_seconds": 1.0,
            "best": {**best, **({"warnings": warnings} if warnings else {})},
            "weights_sha256": {"best": "0", "last": "0"},
        }
        write_sealed_json(CellFolder(tmp_path / name).manifest, manifest)
    notes = notes_on_best(rows, tmp_path)
    assert notes == [
        Note(
            "chosen by noise: 0.00%",
            [(names[0], " (RAAT, ResNet-18, CIFAR-10, seed 0)", "")],
        )
    ]
    layout = lay_out(pd.DataFrame(rows), TITLES, "A title", [], footnotes=[(BEST_SENTENCE, notes)])
    line = f"- chosen by noise: 0.00%: `{names[0]}` (RAAT, ResNet-18, CIFAR-10, seed 0)\n"
    assert to_markdown(layout).endswith(
        f"\n\nBest checkpoints that chance may have chosen:\n\n{line}"
    )
    assert r"chosen by noise: 0.00\%: \texttt{" in to_latex(layout, "tab:x")
    assert "seed 0" in to_latex(layout, "tab:x")
    assert "chance" not in to_latex(lay_out(pd.DataFrame(rows), TITLES, "T", []), "tab:x")


def test_cells_that_are_not_trained_have_no_warnings(tmp_path: Path) -> None:
    assert notes_on_best(cells("RAAT"), tmp_path) == []
