"""The command line: `train SPEC`, `attack FOLDER`, `run SPEC` (both), and what goes with them.

`attack --weights FILE ...` attacks a model that was trained elsewhere.

`join FOLDER` makes records of attacks in shards, `show ...` describes, `data NAME` prepares,
`measure ...` times architectures for plans, `export FOLDER` hands a model on, `check FILE` tries
extensions of your own.

torch is imported by the commands that need it, after their input was found good.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import Evaluation, EvaluationList, attacks_on, check_attack
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.cells.needs import require_needs
from raat_core.cells.spec import read_cell, write_spec
from raat_core.commands.given import given_cell, refuse_given
from raat_core.commands.options import make_parser
from raat_core.commands.show import best_lines, describe
from raat_core.commands.show_record import describe_record
from raat_core.cost.timing import hardware_name
from raat_core.data.cache import data_root
from raat_core.data.image_folder import describe_folder
from raat_core.errors import Interrupted, UserError
from raat_core.evaluation.join import join_cell
from raat_core.evaluation.parts import Shard
from raat_core.fast.cpu.memory import keep_freed_memory
from raat_core.files.checksums import write_json, write_sealed_json
from raat_core.files.plain_data import parse_text, read_text
from raat_core.interface.plugins import load_plugin, load_plugins_from_environment
from raat_core.specs.precision import Precision
from raat_core.validation import one_line, parse, suggest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for bad input, 128 + n after signal n.

    `check` has 1 where it finds something wrong.
    """
    options = make_parser(__doc__).parse_args(arguments)
    try:
        load_plugins_from_environment()
        for plugin in options.plugin:
            load_plugin(plugin)
        return COMMANDS[options.command](options) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # A disk or a path that nothing above expected.
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return 128 + stop.signal_number


def _read_data(text: str) -> tuple[Any, str]:
    """Plain data and its name for messages, from a file's path or from JSON itself."""
    if text.lstrip().startswith(("{", "[")):
        source, content = "the command line", text
    else:
        source, content = text, read_text(Path(text))
    return parse_text(content, source), source


def _train(options: argparse.Namespace) -> None:
    summary = _train_cell(options, _begin(options, parse(Cell, *_read_data(options.spec))))
    _write_summary(options, summary)


def _attack(options: argparse.Namespace) -> None:
    attacks = _read_attacks(options)
    if options.folder is None:
        cell, options.weights = given_cell(options)
        options.folder = options.into
        _train_cell(options, _begin(options, cell, attacks))
    else:
        refuse_given(options)
    read_manifest(CellFolder(options.folder))
    _write_summary(options, _attack_cell(options, attacks, options.shard))


def _join(options: argparse.Namespace) -> None:
    folder, attacks = CellFolder(options.folder), _read_attacks(options)
    read_manifest(folder)
    chosen = attacks_on(read_cell(folder).threat_model, options.checkpoint, attacks)
    summary = join_cell(folder, chosen, _say, options.wait)
    _write_summary(options, {**summary, **({"shards": options.shards} if options.shards else {})})


def _run(options: argparse.Namespace) -> None:
    attacks = _read_attacks(options)
    cell = _begin(options, parse(Cell, *_read_data(options.spec)), attacks)
    _train_cell(options, cell)
    _write_summary(options, _attack_cell(options, attacks))


def _begin(
    options: argparse.Namespace, cell: Cell, attacks: tuple[Evaluation, ...] | None = ()
) -> Cell:
    """Make a cell's folder, or find it to be this cell's, before torch is loaded.

    So that no training is in vain, the attacks that follow it are checked first: those given, the
    default ones if there are None.
    """
    if attacks != ():
        _check_attacks(cell, attacks, options.data)
    options.folder = options.folder or Path("results/cells") / cell.name
    folder = CellFolder(options.folder)
    write_spec(folder, cell)
    if not folder.manifest.exists():
        require_needs(folder, cell)
    return cell


def _check_attacks(cell: Cell, attacks: tuple[Evaluation, ...] | None, data: Path | None) -> None:
    for attack in attacks_on(cell.threat_model, "best", attacks).attacks:
        try:
            check_attack(attack, cell.dataset, data)
        except ValueError as error:
            hint = "" if attacks else "; give others by --attacks"
            raise UserError(f"attacks: {error}{hint}") from None


def _read_attacks(options: argparse.Namespace) -> tuple[Evaluation, ...] | None:
    if options.attacks is None:
        return None
    data, source = _read_data(options.attacks)
    return parse(EvaluationList, {"attacks": data}, source).attacks


def _train_cell(options: argparse.Namespace, cell: Cell) -> dict[str, Any]:
    from raat_core import api
    from raat_core.commands.console import ConsoleReporter

    _prepare(options.threads)
    print(f"cell {cell.name} in {options.folder}", flush=True)
    with ConsoleReporter() as reporter:
        api.train(
            cell,
            options.folder,
            device=options.device,
            data_root=options.data,
            reporter=reporter,
            weights=options.weights,
        )
    manifest = read_manifest(CellFolder(options.folder))
    print(*best_lines(manifest), sep="\n", flush=True)
    keys = ("cell", "digest", "finished", "train_seconds", "best", "weights_sha256")
    return {key: manifest[key] for key in keys}


def _attack_cell(
    options: argparse.Namespace,
    attacks: tuple[Evaluation, ...] | None,
    shard: Shard | None = None,
) -> dict[str, Any]:
    from raat_core import api

    _prepare(options.threads)
    return api.attack(
        options.folder,
        attacks,
        checkpoint=options.checkpoint,
        device=options.device,
        data_root=options.data,
        report=_say,
        shard=shard,
    )


def _say(line: str) -> None:
    print(line, flush=True)


def _write_summary(options: argparse.Namespace, summary: dict[str, Any]) -> None:
    if options.summary:
        write_sealed_json(options.summary, summary)


def _data(options: argparse.Namespace) -> None:
    if (options.images is None) != (options.image_size is None):
        raise UserError("--images and --image-size go together")
    if options.channels and options.images is None:
        raise UserError("--channels goes with --images")
    root = data_root(options.data)
    if options.images is not None:
        folder = describe_folder(
            options.name, options.images, options.image_size, root, channels=options.channels or 3
        )
        spec = {"dataset": folder.key, "image_folder": folder.model_dump(mode="json")}
        print(json.dumps(spec, indent=2), flush=True)
        _write_summary(options, spec)
        return
    if options.name not in DATA_SETS:
        raise UserError(f"data set {options.name!r}{suggest(options.name, DATA_SETS)}")
    from raat_core.data.dataset import load_data_set

    info, data = DATA_SETS[options.name], load_data_set(options.name, root)
    channels, height, width = info.image_shape
    print(
        f"{options.name}: {len(data.train):,} training and {len(data.test):,} test images of "
        f"{channels} × {height} × {width}, {data.classes} classes, sha256 {data.sha256}"
    )
    sizes = {"train_size": len(data.train), "test_size": len(data.test)}
    described = {"dataset": options.name, "classes": data.classes, **sizes}
    _write_summary(options, {**described, "sha256": data.sha256})


def _measure(options: argparse.Namespace) -> None:
    for architecture in options.architectures:
        if architecture not in ARCHITECTURES:
            raise UserError(f"architecture {architecture!r}{suggest(architecture, ARCHITECTURES)}")
    if options.dataset not in DATA_SETS:
        raise UserError(f"--dataset {options.dataset!r}{suggest(options.dataset, DATA_SETS)}")
    channels = DATA_SETS[options.dataset].image_shape[0]
    for architecture in options.architectures:
        taken = ARCHITECTURES[architecture].channels
        if taken not in (None, channels):
            raise UserError(
                f"architecture {architecture!r}: takes images of {taken} channels; those of "
                f"{options.dataset} have {channels}"
            )
    from raat_core.api import pick_device
    from raat_core.cost.measure import measure

    _prepare(options.threads)
    device = pick_device(options.device)
    precision = Precision(attack=options.precision, training=options.precision)
    measured = measure(
        options.architectures, options.dataset, options.batch_size, device, precision
    )
    print(hardware_name(measured.hardware))
    for timing in measured.timings:
        rate = timing.flop / timing.seconds / 1e9
        print(
            f"{timing.architecture}, {timing.kind}: {1e3 * timing.seconds:.1f} ms for a batch of "
            f"{timing.batch_size}, {rate:,.1f} GFLOP/s"
        )
    if options.output:
        write_json(options.output, measured.model_dump(mode="json"))


def _show(options: argparse.Namespace) -> None:
    path = Path(options.cell)
    if path.suffix == ".safetensors":
        print(describe_record(path))
        return
    if not path.is_dir():
        cell = parse(Cell, *_read_data(options.cell))
        described: dict[str, Any] = {"name": cell.name, **cell.to_json()}
        if cell.needs:
            described["needs"] = {setting: need.cell.name for setting, need in cell.needs.items()}
        print(json.dumps(described, indent=2, ensure_ascii=False))
        return
    print(describe(CellFolder(path)))


def _export(options: argparse.Namespace) -> None:
    read_manifest(CellFolder(options.folder))
    from raat_core import api

    _prepare(threads=1)
    done = api.export(
        options.folder, options.to, options.form, checkpoint=options.checkpoint, name=options.name
    )
    read = done["read_back"]
    again = (
        "not read back: onnxruntime is not installed"
        if read is None
        else f"read back without this package, logits within {read['difference']:.2g}"
    )
    print(f"{options.to}: {', '.join(done['files'])}; {again}", flush=True)
    _write_summary(options, done)


def _check(options: argparse.Namespace) -> int:
    from raat_core.checking.check import checked
    from raat_core.checking.findings import exit_code
    from raat_core.checking.registered import (
        extensions_of_plugin,
        read_assignments,
        require_known_settings,
    )

    found, given = extensions_of_plugin(options.extensions), read_assignments(options.set)
    require_known_settings(given, found)
    _prepare(threads=1)
    reports = []
    for report in checked(found, given, options.data):
        print(*report.lines, sep="\n", flush=True)
        reports.append(report)
    return exit_code(reports)


def _prepare(threads: int) -> None:
    """Set up the process for torch's work."""
    import torch

    keep_freed_memory()
    torch.set_num_threads(threads)


COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "train": _train,
    "attack": _attack,
    "join": _join,
    "run": _run,
    "measure": _measure,
    "data": _data,
    "show": _show,
    "export": _export,
    "check": _check,
}
