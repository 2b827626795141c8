"""What docs/security.md says: what is read is data, and what is written stays in its place."""

from __future__ import annotations

import ast
import os
import pickle
import re
import stat
import string
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import small_cell
from raat_core.cells.folder import CellFolder
from raat_core.cells.spec import write_spec
from raat_core.data.cache import Samples, Source, read_cache, write_cache
from raat_core.data.image_folder import describe_folder, read_folder
from raat_core.data.images import decode
from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_core.files.checksums import read_arrays, write_json
from raat_core.models.foreign import read_tensors
from raat_core.training.state import ResumeStore

ROOT = Path(__file__).resolve().parents[3]
PLUGIN = ROOT / "workflow/plugins/snakemake_executor_plugin_submitit/src"
FOLDERS = ROOT / "raat_core", ROOT / "workflow/raat_sweep", ROOT / "workflow/scripts", PLUGIN
SOURCES = [path for folder in FOLDERS for path in sorted(folder.rglob("*.py"))]


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def bomb(tmp_path: Path) -> Iterator[bytes]:
    target = tmp_path / "went-off"
    yield pickle.dumps(("success", Bomb(target)))
    assert not target.exists()


READERS = {
    "foreign.py": {"torch.load"},
    "read_back.py": {"torch.load"},
    "corruptions.py": {"np.load"},
}
"""Files that read tensors or arrays, and by what; without objects, as the next test says."""


def calls(path: Path) -> set[str]:
    """Dotted names of everything that a file calls."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_unpickles_or_evaluates_what_it_reads(path: Path) -> None:
    refused = {"eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "torch.load"}
    refused |= {"np.load", "numpy.load", "pd.read_pickle", "pickle_load", "yaml.unsafe_load"}
    assert calls(path) & refused <= READERS.get(path.name, set())
    assert ("yaml.load" in calls(path)) == (path.name == "plain_data.py")


def test_readers_of_tensors_take_no_objects() -> None:
    """Code in strings, which another process runs, counts by its text."""
    asks = {"torch.load(": "weights_only=True", "np.load(": "allow_pickle=False"}
    for path in SOURCES:
        lines = path.read_text().replace("safetensors.torch.load(", "").splitlines()
        for call, condition in asks.items():
            assert all(condition in line for line in lines if call in line), path


def test_a_pickle_among_weights_does_not_go_off(tmp_path: Path) -> None:
    for number, content in enumerate((Bomb(tmp_path / "off"), {"a": Bomb(tmp_path / "off")})):
        path = tmp_path / f"{number}.pt"
        torch.save(content, path)
        with pytest.raises(UserError, match="holds objects beside tensors"):
            read_tensors(path, path.read_bytes())
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(UserError):
            read_tensors(path, path.read_bytes())
    assert not (tmp_path / "off").exists()


def test_only_a_jobs_own_command_goes_through_a_shell() -> None:
    shells = [path.name for path in SOURCES if "shell=True" in path.read_text()]
    assert shells == ["task.py"]


def test_rules_quote_what_goes_to_a_shell() -> None:
    """All but numbers, and the name of a checkpoint, of which there are two."""
    plain = {"threads", "wildcards.shard", "wildcards.shards", "params.shards", "params.checkpoint"}
    plain |= {"resources.latency"}
    for rules in (ROOT / "workflow/rules").glob("*.smk"):
        shells = re.findall(r"^    shell:\n((?:        .*\n)+)", rules.read_text(), re.MULTILINE)
        for value in re.findall(r"(?<!{){([^{}]+)}", "".join(shells)):
            assert value in plain or value.endswith(":q"), f"{rules.name}: {value}"


@pytest.mark.parametrize("read", [read_arrays, Record.read, read_cache])
def test_a_pickle_in_place_of_tensors(read: object, tmp_path: Path, bomb: bytes) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(bomb)
    with pytest.raises(UserError, match="not a file of this program"):
        read(path)  # type: ignore[operator]


def test_a_pickle_in_place_of_a_state(tmp_path: Path, bomb: bytes) -> None:
    store = ResumeStore(tmp_path / "resume", "digest")
    store.folder.mkdir()
    store.newest.write_bytes(bomb)
    with pytest.raises(UserError, match="no whole state to resume from"):
        store.load(None)  # type: ignore[arg-type]


def _archive(path: Path, members: list[tarfile.TarInfo]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            content = b"x" * 4
            if member.isreg() and not member.size:
                member.size = len(content)
            tar.addfile(member, BytesIO(content) if member.isreg() else None)


def test_an_archive_stays_in_its_folder(tmp_path: Path) -> None:
    """Paths above, absolute ones, links and devices are not written, nor followed."""
    datasets = pytest.importorskip("torchvision.datasets")
    from raat_core.data.cifar import _unpack

    base = datasets.CIFAR10.base_folder
    links = [tarfile.TarInfo(f"{base}/data_batch_1"), tarfile.TarInfo(f"{base}/data_batch_2")]
    links[0].type, links[0].linkname = tarfile.SYMTYPE, "/etc/passwd"
    links[1].type, links[1].linkname = tarfile.LNKTYPE, "/etc/passwd"
    pipe = tarfile.TarInfo(f"{base}/data_batch_3")
    pipe.type = tarfile.FIFOTYPE
    names = [f"{base}/../../above", "/tmp/raat-absolute", f"{base}/other", f"{base}/test_batch"]
    members = [*links, pipe, *map(tarfile.TarInfo, names)]
    _archive(tmp_path / "some.tar.gz", members)
    inside = tmp_path / "a/b"
    inside.mkdir(parents=True)
    _unpack("cifar10", tmp_path / "some.tar.gz", datasets.CIFAR10, inside)
    assert [path.name for path in inside.rglob("*")] == [base, "test_batch"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "some.tar.gz"]
    assert not Path("/tmp/raat-absolute").exists()


def _image(width: int, height: int, kind: str = "PNG") -> bytes:
    from PIL import Image

    file = BytesIO()
    Image.new("1", (width, height)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("size", "words"),
    [((30_000, 30_000), "too many"), ((8_001, 8_001), "too many"), ((60_000, 1), "long and thin")],
)
@pytest.mark.filterwarnings("ignore:Image size")
def test_a_picture_that_would_fill_the_memory(size: tuple[int, int], words: str) -> None:
    with pytest.raises(UserError, match=f"^it: .*{words}|^it: .*decompression bomb"):
        decode(_image(*size), "it", 64, resize=True)


def _folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for split in ("train", "test"):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            (root / split / name / "one.png").write_bytes(_image(8, 8))
    return root


def test_a_folder_that_leads_back_to_itself(tmp_path: Path) -> None:
    """Else its images would count forty times, until the path is too long."""
    root = _folder(tmp_path)
    assert len(read_folder("x", root, 8)[0].train.labels) == 2
    (root / "train/a/more").symlink_to(root / "train/b")
    assert len(read_folder("x", root, 8)[0].train.labels) == 3
    (root / "train/a/back").symlink_to(root)
    with pytest.raises(UserError, match=r"leads back to .*, which it is in"):
        read_folder("x", root, 8)


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    root = _folder(tmp_path)
    os.mkfifo(root / "test/b/two.png")
    with pytest.raises(UserError, match=r"two\.png is not a file"):
        describe_folder("x", root, 8, tmp_path / "data")


def test_a_picture_of_too_many_bytes(tmp_path: Path) -> None:
    root = _folder(tmp_path)
    with (root / "test/b/two.png").open("wb") as file:
        file.truncate(600_000_000)  # Without taking them from the disk.
    with pytest.raises(UserError, match=r"two\.png has 600,000,000 bytes"):
        describe_folder("x", root, 8, tmp_path / "data")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o027])
def test_files_are_made_with_the_users_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_spec(CellFolder(tmp_path / "cells/one"), small_cell())
        write_json(tmp_path / "some/where.json", {})
        describe_folder("x", _folder(tmp_path), 8, tmp_path / "data")
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & mask == 0, path
        assert not path.stat().st_mode & stat.S_IWOTH, path


def test_a_cache_is_nobodys_to_change(tmp_path: Path) -> None:
    images = np.zeros((1, 1, 8, 8), np.uint8)
    samples = Samples([0], iter(images))
    source = Source(("a", "b"), (1, 8, 8), samples, Samples([1], iter(images)))
    path = write_cache(tmp_path, "images.safetensors", source)
    assert stat.S_IMODE(path.stat().st_mode) & 0o222 == 0


@pytest.mark.parametrize("method", [{"name": "raat", "eta": 1e-7}, {"name": "raat++"}, "mart"])
def test_a_cells_name_is_safe_for_files_and_shells(method: object) -> None:
    name = small_cell(method=method).name
    assert set(name) <= {*string.ascii_letters, *string.digits, *"._+-"}
    assert name[0].isalnum()
