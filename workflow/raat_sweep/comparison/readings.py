"""Which reading of the paper a table measures: its text, its released code, or a mixture."""

from __future__ import annotations

from collections.abc import Iterable

from raat_core.cells.cell import Cell

_CODE = "what the paper prints was made by its released code"
_NETWORK = "resnet-18"
_OF_THE_CODE = "resnet-18-bottleneck"


def reading_of(rows: Iterable[tuple[str, Cell]]) -> str:
    """Says it in a sentence; empty where no method has two variants.

    Args:
        rows: the label of a method, and a cell of it.
    """
    cells = list(rows)
    by_variant: dict[str, list[str]] = {"paper": [], "released": [], "mixed": []}
    for label, cell in cells:
        if cell.method.has_variants:
            by_variant[cell.method.variant].append(label)
    labels = {variant: ", ".join(dict.fromkeys(some)) for variant, some in by_variant.items()}
    found = [variant for variant, some in labels.items() if some]
    if not found:
        return ""
    network = _network({cell.architecture for _, cell in cells})
    if found == ["paper"]:
        return (
            f"Measured here are the methods as the paper's text says (variant: paper){network}; "
            f"{_CODE}, which departs from it (docs/methods.md) and is run by config/released.yaml."
        )
    if found == ["released"]:
        return (
            f"Measured here are the methods as the released code has them (variant: released)"
            f"{network}; {_CODE}."
        )
    words = {"paper": "text", "released": "released code", "mixed": "mixtures of both"}
    apart = "; ".join(f"{words[variant]}: {labels[variant]}" for variant in found)
    return f"Measured here are the paper's methods in several readings ({apart}){network}; {_CODE}."


def _network(architectures: set[str]) -> str:
    if _NETWORK in architectures:
        return f", on ResNet-18 and not on what the released code calls so ({_OF_THE_CODE})"
    if _OF_THE_CODE in architectures:
        return f", on what that code calls ResNet-18 ({_OF_THE_CODE})"
    return ""
