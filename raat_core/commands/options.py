"""What can be said to `python -m raat_core`: its commands and their options."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from raat_core.commands.arguments import Parser, whole_number
from raat_core.evaluation.parts import Shard
from raat_core.exporting.forms import FORMS
from raat_core.specs.precision import ARITHMETICS
from raat_core.validation import LARGEST_COUNT

_positive = whole_number(LARGEST_COUNT)


def make_parser(description: str | None) -> Parser:
    """A parser whose result has the command's name as `command`, and its options."""
    parser = Parser(prog="python -m raat_core", description=description)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, help: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help)
        command.set_defaults(command=name, plugin=[])
        return command

    _train(add("train", "train a cell, or go on where it stopped"))
    _attack(add("attack", "attack a trained cell"))
    _join(add("join", "make records of attacks whose shards are all done"))
    _run(add("run", "train a cell, then attack it, in one process"))
    _measure(add("measure", "time this machine's GPU or CPU, so that a plan can tell hours"))
    _data(add("data", "download, decode and verify a data set ahead of jobs"))
    _show(add("show", "describe a cell's folder, a record in it, or a spec"))
    _export(add("export", "write a trained model, and a model card, for others to load"))
    _check(add("check", "try what a plugin registers, on a few images of digits"))
    return parser


def _train(command: argparse.ArgumentParser) -> None:
    _add_spec(command)
    _add_weights(command)
    _add_device(command)
    _add_data(command)
    _add_summary(command)
    _add_plugins(command)


def _attack(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, nargs="?", help="the cell's folder")
    _add_given(command)
    command.add_argument(
        "--shard", type=_shard, help="attack only share 3 of 8 of the batches: 3/8; then join"
    )
    _add_attacks(command)
    _add_device(command)
    _add_data(command)
    _add_summary(command)
    _add_plugins(command)


def _join(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, help="the cell's folder")
    command.add_argument(
        "--wait", type=_positive, default=0, help="seconds for files of other machines to show up"
    )
    command.add_argument(
        "--shards", type=_positive, help="in how many they were attacked, for the summary"
    )
    _add_attacks(command)
    _add_summary(command)
    _add_plugins(command)


def _run(command: argparse.ArgumentParser) -> None:
    _add_spec(command)
    _add_weights(command)
    _add_attacks(command)
    _add_device(command)
    _add_data(command)
    _add_summary(command)
    _add_plugins(command)


def _measure(command: argparse.ArgumentParser) -> None:
    command.add_argument("architectures", nargs="+", metavar="ARCHITECTURE")
    command.add_argument("--dataset", required=True, help="whose images' size to take")
    command.add_argument("--batch-size", type=_positive, default=128, help="default: 128")
    command.add_argument(
        "--precision", choices=ARITHMETICS, default="fp32", help="of training; default: fp32"
    )
    command.add_argument(
        "--output", type=Path, help="a JSON file; plans read those in <results>/throughput/"
    )
    _add_device(command)
    _add_plugins(command)


def _data(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", help="a data set's name; one of your own with --images")
    command.add_argument(
        "--images", type=Path, help="a folder of train/<class>/... and test/<class>/..."
    )
    command.add_argument(
        "--image-size", type=whole_number(1024, smallest=4), help="to which its images are scaled"
    )
    command.add_argument(
        "--channels", type=int, choices=[1, 3], help="1 keeps grey images grey; default: 3"
    )
    _add_data(command)
    _add_summary(command)
    _add_plugins(command)


def _show(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "cell", help="a cell's folder, the .safetensors file of a record, or a spec as for train"
    )
    _add_plugins(command)


def _export(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, help="the cell's folder")
    command.add_argument("--to", type=Path, required=True, help="the folder to make")
    command.add_argument(
        "--as", dest="form", choices=FORMS, default="state-dict", help="default: state-dict"
    )
    command.add_argument("--checkpoint", choices=["best", "last"], default="best")
    command.add_argument("--name", help="what the model is to be called; default: as the cell")
    _add_summary(command)
    _add_plugins(command)


def _check(command: argparse.ArgumentParser) -> None:
    command.add_argument("extensions", metavar="PLUGIN", help="a file, folder or module")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of its methods and attacks, as in a config",
    )
    _add_data(command)
    _add_plugins(command)


def _add_spec(command: argparse.ArgumentParser) -> None:
    command.add_argument("spec", help="a cell's spec: a JSON or YAML file, or JSON itself")
    command.add_argument("--folder", type=Path, help="default: results/cells/<the cell's name>")


def _add_weights(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--weights", type=Path, help="the file of a cell whose weights are given, not trained"
    )


def _add_given(command: argparse.ArgumentParser) -> None:
    """A model that was trained elsewhere, in place of a cell's folder."""
    given = command.add_argument_group("a model that was trained elsewhere, in place of a folder")
    given.add_argument("--weights", help="its file, of torch.save or safetensors")
    given.add_argument(
        "--architecture", help="a name, or module:function, or folder/file.py:function"
    )
    given.add_argument("--dataset", help="whose test images are attacked")
    given.add_argument(
        "--threat-model", help="linf:8/255, l2:0.5, or {norm: ..., epsilon: ..., step_size: ...}"
    )
    given.add_argument(
        "--given",
        metavar="KEYS",
        help="more of it, as under `models` in a config: {normalise: ..., key: ..., rename: ...}",
    )
    given.add_argument(
        "--folder",
        dest="into",
        type=Path,
        metavar="FOLDER",
        help="where to keep it; default: results/cells/<its name>",
    )


def _add_attacks(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--attacks", help="a list of attacks: a JSON or YAML file, or JSON; default: Table 1's"
    )
    command.add_argument("--checkpoint", choices=["best", "last"], default="best")


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    command.add_argument(
        "--threads", type=whole_number(1024), default=1, help="threads of torch on the CPU"
    )


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", type=Path, help="folder of data; default: $RAAT_DATA, or data")


def _add_summary(command: argparse.ArgumentParser) -> None:
    command.add_argument("--summary", type=Path, help="write what was done as JSON here")


def _add_plugins(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--plugin",
        action="append",
        default=[],
        help="file, folder or module with extensions of your own",
    )


def _shard(text: str) -> Shard:
    parts = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    number, of = map(int, parts.groups()) if parts else (0, 0)
    if not 1 <= number <= of:
        raise argparse.ArgumentTypeError(f"{text!r}: must be like 3/8, from 1/8 to 8/8")
    return Shard(number, of)
