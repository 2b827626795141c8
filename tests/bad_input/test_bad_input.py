"""Bad input through the doors that users come by: one line that names it, and no traceback."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import SMALL_CELL
from raat_core.cells.folder import CellFolder
from raat_core.commands.cli import main as core
from raat_sweep.commands.cli import main as sweep

CONFIGS: list[tuple[str, str, list[str]]] = yaml.safe_load(
    (Path(__file__).parent / "configs.yaml").read_text()
)
GRID = "{datasets: [digits], architectures: [resnet-mini], methods: [PGD-AT], seeds: [0]}"
TABLE = f"items: {{t: {{kind: table, title: T, metrics: [clean], grids: [{GRID}]}}}}"
PLACEHOLDERS = {"grid": GRID, "table": TABLE, "digits": "9" * 5000, "letters": "t" * 300}
RECIPE = {**SMALL_CELL["recipe"], "epochs": 1, "batch_size": 512, "decay_epochs": []}
CELL: dict[str, Any] = {**SMALL_CELL, "recipe": RECIPE}
CLEAN = '[{"kind": "clean"}]'


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAAT_DATA", raising=False)
    monkeypatch.delenv("RAAT_PLUGINS", raising=False)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Run a command; it must end with 2 and say one line that has all parts."""

    def run(
        main: Callable[[Sequence[str]], int], arguments: Sequence[str], parts: Sequence[str]
    ) -> None:
        try:
            code: object = main(arguments)
        except SystemExit as leaving:  # By argparse.
            code = leaving.code
        message = capsys.readouterr().err
        assert code == 2
        assert re.fullmatch(r"error: [^\n]+\n", message), message
        assert len(message) < 1000
        for part in parts:
            assert part in message, message

    return run


@pytest.mark.parametrize(
    ("text", "parts"), [case[1:] for case in CONFIGS], ids=[c[0] for c in CONFIGS]
)
def test_a_config(text: str, parts: list[str], refused: Callable[..., None]) -> None:
    for name, value in PLACEHOLDERS.items():
        text = text.replace(f"{{{name}}}", value)
    Path("my.yaml").write_text(text)
    refused(sweep, ["plan", "my.yaml"], parts)


@pytest.mark.parametrize("command", ["plan", "show", "watch"])
@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"\xff\xfe\x00items", ["my.yaml", "not a text file"]),
        ("items: {t: {title: café}}".encode("latin1"), ["my.yaml", "not a text file"]),
        (b"items: \x00\n", ["my.yaml", "not valid", "special characters"]),
        (b"[" * 2000, ["my.yaml", "nested too deeply"]),
        (b"items: " + b"{a: " * 900 + b"1" + b"}" * 900, ["my.yaml", "nested too deeply"]),
    ],
    ids=["bytes", "latin1", "nul", "lists", "mappings"],
)  # fmt: skip
def test_a_config_that_is_no_text(
    content: bytes, parts: list[str], command: str, refused: Callable[..., None]
) -> None:
    Path("my.yaml").write_bytes(content)
    refused(sweep, [command, "my.yaml"], parts)


SWEEP_LINES: list[tuple[list[str], list[str]]] = [
    ([], ["the following arguments are required: COMMAND"]),
    (["plann"], ["invalid choice: 'plann'", "plan"]),
    (["plan", "none.yaml"], ["cannot read none.yaml"]),
    (["plan", "."], ["cannot read .", "directory"]),
    (["plan", "good.yaml", "tt"], ["item 'tt'", "did you mean 't'?"]),
    (["plan", "good.yaml", "--gpu", "B9000"], ["--gpu 'B9000'", "A100-80GB"]),
    (["watch", "good.yaml", "--every", "nan"], ["--every: 'nan'", "from 0.1 to 86400"]),
    (["watch", "good.yaml", "--evry", "3"], ["unrecognized arguments: --evry"]),
    (["show"], ["required: config"]),
    (["reference", "good.yaml"], ["good.yaml"]),
]


@pytest.mark.parametrize(("arguments", "parts"), SWEEP_LINES)
def test_a_command_line_of_sweeps(
    arguments: list[str], parts: list[str], refused: Callable[..., None]
) -> None:
    Path("good.yaml").write_text(TABLE)
    refused(sweep, arguments, parts)


def with_changes(**changes: Any) -> str:
    return json.dumps({**CELL, **changes})


CORE_LINES: list[tuple[list[str], list[str]]] = [
    ([], ["required: COMMAND"]),
    (["trian", "x"], ["invalid choice: 'trian'"]),
    (["train", "spec.yaml"], ["spec.yaml", "not valid", "month"]),
    (["train", "twice.json"], ["twice.json", "line 1", "'seed' stands there twice"]),
    (["train", "bytes"], ["bytes is not a text file"]),
    (["train", "deep"], ["deep", "nested too deeply"]),
    (["train", with_changes(dataset=["digits"])], ["dataset", "unknown data set"]),
    (["train", with_changes(architecture={})], ["architecture", "unknown architecture"]),
    (["train", with_changes(seed=True)], ["seed = True", "must be a number"]),
    (["train", with_changes(seed=2**31)], ["seed = 2147483648", "less than"]),
    (["train", with_changes(precision="fp8")], ["precision = 'fp8'", "'fp32'"]),
    (["train", with_changes(epochs=3)], ["unknown key 'epochs'", "allowed: dataset"]),
    (["train", with_changes(dataset="x@0123456789ab")], ["dataset = 'x@0123456789ab'"]),
    (["train", with_changes(), "--threads", "0"], ["--threads: '0'", "from 1 to 1,024"]),
    (["train", with_changes(), "--threads", "9" * 20], ["--threads", "from 1 to 1,024"]),
    (["train", with_changes(), "--threads", "²"], ["--threads: '²'", "whole number"]),
    (["train", with_changes(), "--device", "gpu"], ["device = 'gpu'", "cuda"]),
    (["train", with_changes(), "--device", "meta"], ["device = 'meta'", "cannot be used"]),
    (["train", with_changes(), "--folder", "bytes"], ["cannot write bytes/spec.json"]),
    (["train", with_changes(), "--folder", "a" * 300], ["aaa", "name too long"]),
    (["train", with_changes(), "--plugin", "leaves.py"], ["'leaves.py'", "SystemExit: 3"]),
    (["train", with_changes(), "--plugin", "lines.py"], ["'lines.py'", "ValueError: a b"]),
    (["run", with_changes(), "--attacks", '[{"kind": "clean", "samples": 999}]'],
     ["samples = 999", "at most 360"]),
    (["attack", "cell", "--shard", "9/8"], ["--shard: '9/8'", "like 3/8"]),
    (["attack", "cell", "--shard", "²/3"], ["--shard: '²/3'", "like 3/8"]),
    (["attack", "cell", "--checkpoint", "first"], ["--checkpoint", "'first'", "'best', 'last'"]),
    (["attack", "cell", "--attacks", '[{"steps": 3}]'], ["attacks.0: kind: is missing", "pgd"]),
    (["attack", "cell", "--attacks", '["clean"]'], ["attacks.0 = 'clean'", "a mapping"]),
    (["attack", "cell", "--attacks", "[]"], ["attacks", "at least 1"]),
    (["join", "cell", "--wait", "-1"], ["--wait: '-1'", "whole number"]),
    (["measure", "resnet-mini"], ["required: --dataset"]),
    (["measure", "preact-resnet-18-normalised", "--dataset", "digits"],
     ["'preact-resnet-18-normalised'", "3 channels", "have 1"]),
    (["data", "cifar"], ["data set 'cifar'", "did you mean 'cifar10'?"]),
    (["data", "x", "--images", "."], ["--images and --image-size go together"]),
    (["data", "x", "--images", ".", "--image-size", "2"], ["--image-size: '2'", "from 4 to 1,024"]),
    (["data", "../x", "--images", ".", "--image-size", "8"], ["'../x'", "letters"]),
    (["data", "x\n", "--images", ".", "--image-size", "8"], ["'x\\n'", "letters"]),
    (["data", "cifar10", "--data", "bytes"], ["bytes/cache/cifar10", "Not a directory"]),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "parts"), CORE_LINES)
def test_a_command_line_of_cells(
    arguments: list[str], parts: list[str], refused: Callable[..., None]
) -> None:
    Path("bytes").write_bytes(b"\xff\xfe\x00")
    Path("deep").write_text("[" * 5000)
    Path("spec.yaml").write_text("seed: 2020-13-45")
    Path("twice.json").write_text('{"seed": 1, "seed": 2}')
    Path("leaves.py").write_text("import sys; sys.exit(3)")
    Path("lines.py").write_text("raise ValueError('a\\nb')")
    refused(core, arguments, parts)


ENVIRONMENT: list[tuple[str, str, list[str]]] = [
    ("RAAT_DATA", "bytes", ["bytes/cache/cifar10", "Not a directory"]),
    ("RAAT_PLUGINS", "none.py", ["RAAT_PLUGINS", "'none.py'", "no such file"]),
]


@pytest.mark.parametrize(("name", "value", "parts"), ENVIRONMENT)
def test_the_environment(
    name: str, value: str, parts: list[str], refused: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    Path("bytes").write_bytes(b"\xff")
    monkeypatch.setenv(name, value)
    refused(core, ["data", "cifar10"], parts)


def test_the_environment_of_a_sweep(
    refused: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("good.yaml").write_text(TABLE)
    monkeypatch.setenv("RAAT_DATA", "a{b}")
    refused(sweep, ["plan", "good.yaml"], ["RAAT_DATA = 'a{b}'"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "cell"
    assert core(["train", json.dumps(CELL), "--folder", str(folder)]) == 0
    return folder


def _change(folder: Path, path: str, content: bytes | str) -> None:
    data = content.encode() if isinstance(content, str) else content
    (folder / path).write_bytes(data)


DAMAGE: list[tuple[str, str | bytes, list[str], list[str]]] = [
    ("manifest.json", "{}", ["attack", "train", "join", "show"], ["manifest.json", "cell = None"]),
    ("manifest.json", "[]", ["attack", "train", "join", "show"], ["manifest.json is damaged"]),
    ("manifest.json", '{"cell"', ["attack", "train"], ["manifest.json", "not valid JSON"]),
    ("manifest.json", b"\xff", ["attack"], ["manifest.json", "not valid JSON"]),
    ("best.safetensors", b"", ["attack", "train"], ["best.safetensors", "truncated"]),
    ("best.safetensors", b"\x80\x04cposix\nsystem\n.", ["attack"], ["not a file of this program"]),
]  # fmt: skip


@pytest.mark.parametrize(("path", "content", "commands", "parts"), DAMAGE)
def test_a_cell_folder(
    path: str, content: str | bytes, commands: list[str], parts: list[str],
    trained: Path, refused: Callable[..., None],
) -> None:  # fmt: skip
    folder = CellFolder(Path("cell"))
    folder.path.mkdir()
    for file in trained.iterdir():
        if file.is_file():
            (folder.path / file.name).write_bytes(file.read_bytes())
    _change(folder.path, path, content)
    lines = {
        "attack": ["attack", "cell", "--attacks", CLEAN],
        "train": ["train", json.dumps(CELL), "--folder", "cell"],
        "join": ["join", "cell", "--attacks", CLEAN],
        "show": ["show", "cell"],
    }
    for command in commands:
        refused(core, lines[command], parts)
