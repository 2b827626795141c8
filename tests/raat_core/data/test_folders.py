"""What people's image folders hold: what is an image, what is left out, counted or refused."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_files import make_image_folder
from PIL import Image
from torchvision import datasets, transforms

from conftest import SMALL_CELL
from raat_core import api
from raat_core.cells.image_folder import ImageFolder
from raat_core.commands.cli import main
from raat_core.data import decoding, image_folder
from raat_core.data.dataset import DataSet
from raat_core.data.image_folder import describe_folder
from raat_core.data.images import Channels
from raat_core.errors import Interrupted, UserError

CLEAN = "b9d37dae02f6c15998e9a54c04e22d4c54289817b56eb575f534236fc4cc8c65"
"""Of `make_image_folder`: cells on such folders have it in their digest."""
ORIENTATION = 0x0112


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return make_image_folder(tmp_path / "images")


def described(images: Path, channels: Channels = 3) -> ImageFolder:
    return describe_folder("mine", images, 12, images.parent / "data", channels=channels)


def loaded(images: Path, channels: Channels = 3) -> DataSet:
    return api.load_data_set(described(images, channels).register(), images.parent / "data")


def refused(images: Path, channels: Channels = 3) -> str:
    with pytest.raises(UserError) as caught:
        described(images, channels)
    return str(caught.value)


def picture(seed: int = 99, shape: tuple[int, ...] = (12, 12, 3)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8))


def test_a_clean_folder_is_what_it_was(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = described(images)
    assert found.sha256 == CLEAN
    assert set(found.model_dump(mode="json")) == {
        "name", "image_size", "classes", "train_size", "test_size", "sha256"
    }  # fmt: skip
    assert capsys.readouterr().err.count("\n") == 1, "nothing is said but that it is decoded"


HIDDEN = [
    "train/ant/.ipynb_checkpoints/0-checkpoint.png",
    "train/ant/@eaDir/0.png/SYNOPHOTO_THUMB_M.png",
    "test/zebra/.AppleDouble/0.png",
    "train/zebra/__MACOSX/0.png",
    "train/zebra/#recycle/0.png",
    "train/zebra/$RECYCLE.BIN/0.png",
    "train/.ipynb_checkpoints/ant/0.png",
    "test/@eaDir/0.png",
    "test/__MACOSX/0.png",
    "train/ant/._0.png",
    "train/ant/.DS_Store",
    "train/ant/Thumbs.db",
    "train/desktop.ini",
]


@pytest.mark.parametrize("file", HIDDEN)
def test_what_is_hidden_or_a_systems_is_no_image_and_no_class(file: str, images: Path) -> None:
    path = images / file
    path.parent.mkdir(parents=True, exist_ok=True)
    picture().save(path, format="PNG")
    assert described(images).sha256 == CLEAN


def test_hidden_folders_are_named_even_as_classes(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("train/ant/@eaDir", "train/.cache", "test/.cache"):
        (images / folder).mkdir()
    described(images)
    said = capsys.readouterr().err
    assert "hidden or system folders left out: 3: " in said
    for folder in ("train/ant/@eaDir", "train/.cache", "test/.cache"):
        assert str(images / folder) in said


def test_files_that_are_left_out_are_counted_by_ending(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("1.avif", "2.AVIF", "notes.txt", "README"):
        (images / "train/ant" / name).write_text("x")
    picture().save(images / "test/loose.png")
    assert described(images).sha256 == CLEAN
    said = capsys.readouterr().err
    assert "files left out by their ending: 4: .avif (2), .txt (1), no ending (1)" in said
    assert f"files left out of {images}/test itself, in no class: 1" in said


def test_a_class_of_unknown_endings_alone(images: Path) -> None:
    for split in ("train", "test"):
        for file in (images / split / "ant").iterdir():
            file.rename(file.with_suffix(".heic"))
    said = refused(images)
    assert f"{images}/train/ant, {images}/test/ant have no image" in said
    assert "files left out by their ending: 12: .heic (12)" in said


def test_folders_below_a_class_are_of_the_class(images: Path) -> None:
    deeper = images / "train/ant/2019/June"
    deeper.mkdir(parents=True)
    (images / "train/ant/3.png").rename(deeper / "3.png")
    assert described(images).train_size == 16


def test_links_to_files_and_folders_are_followed(images: Path) -> None:
    elsewhere = images.parent / "elsewhere"
    (images / "train/ant").rename(elsewhere)
    (images / "train/ant").symlink_to(elsewhere)
    (images / "train/zebra/0.png").rename(images.parent / "one.png")
    (images / "train/zebra/0.png").symlink_to(images.parent / "one.png")
    assert described(images).sha256 == CLEAN


@pytest.mark.parametrize("place", ["train/bee", "train/ant/more", "test/zebra/9.png"])
@pytest.mark.parametrize("target", ["nowhere", "itself"])
def test_a_link_that_leads_nowhere_is_named(place: str, target: str, images: Path) -> None:
    """A class must not be lost in silence with the disk that it lay on."""
    path = images / place
    path.symlink_to(path if target == "itself" else images / "nowhere")
    assert f"{path}: is a link that leads nowhere" in refused(images)


@pytest.mark.parametrize("place", ["train/.bee", "train/ant/.more", "train/ant/@more"])
def test_unless_it_is_hidden(place: str, images: Path) -> None:
    (images / place).symlink_to(images / place)
    assert described(images).sha256 == CLEAN


def _all_rename(images: Path, old: str, train: str, test: str) -> None:
    (images / "train" / old).rename(images / "train" / train)
    (images / "test" / old).rename(images / "test" / test)


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "guêpe") for form in ("NFC", "NFD"))
DIFFERENT = [
    ("ant", "Ant", "'Ant' differs only in case"),
    ("ant", "ant ", "'ant ' differs only in spaces"),
    (COMPOSED, DECOMPOSED, r"('gu\xeape'; 'gue\u0302pe' is the same in another Unicode form)"),
]


@pytest.mark.parametrize(("train", "test", "said"), DIFFERENT)
def test_names_of_classes_that_look_the_same(
    train: str, test: str, said: str, images: Path
) -> None:
    _all_rename(images, "ant", train, test)
    assert said in refused(images)


def test_one_name_in_two_forms_in_one_split(images: Path) -> None:
    _all_rename(images, "ant", COMPOSED, COMPOSED)
    _all_rename(images, "zebra", DECOMPOSED, DECOMPOSED)
    assert "have one name in two Unicode forms" in refused(images)


def test_letters_may_be_classes(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _all_rename(images, "ant", "a", "a")
    _all_rename(images, "zebra", "A", "A")
    assert described(images).classes == 2
    assert "classes that differ only in case: 'A' and 'a'" in capsys.readouterr().err


@pytest.mark.parametrize("name", [b"gu\xeape", b"two\nlines"])
def test_a_class_whose_name_is_no_text(name: bytes, images: Path) -> None:
    for split in ("train", "test"):
        (images / split / "ant").rename(images / split / os.fsdecode(name))
    said = refused(images)
    assert "control characters, or not in UTF-8" in said
    assert "\n" not in said


@pytest.mark.parametrize("name", ["\u8766", "white\u00a0ant", "a b", "\U0001f41c\u200d"])
def test_a_class_may_have_any_other_name(name: str, images: Path) -> None:
    _all_rename(images, "ant", name, name)
    assert described(images).classes == 2


def test_a_known_folder_that_lost_a_split(images: Path) -> None:
    described(images)
    (images / "test").rename(images / "val")
    assert "in the folder there is 'train', 'val'" in refused(images)


def test_what_lies_beside_the_splits_is_not_looked_at(images: Path) -> None:
    (images / "raw").mkdir()
    (images / "raw/gone").symlink_to(images / "nowhere")
    assert described(images).sha256 == CLEAN


def test_all_classes_of_one_split_are_named(images: Path) -> None:
    for split, names in (("train", "bcd"), ("test", "ef")):
        for name in names:
            (images / split / name).mkdir()
            picture().save(images / split / name / "0.png")
    said = refused(images)
    assert f"{images}/test has no classes 'b', 'c', 'd', which train has" in said
    assert f"{images}/train has no classes 'e', 'f', which test has" in said


def test_another_layout_is_told_what_there_is(images: Path) -> None:
    (images / "test").rename(images / "val")
    assert "in the folder there is 'train', 'val'" in refused(images)


def _shallow(path: Path) -> None:
    (path / "empty.png").write_bytes(b"")


def _pointer(path: Path) -> None:
    (path / "pointer.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def _page(path: Path) -> None:
    (path / "page.jpg").write_text("<!DOCTYPE html><html><body>404</body></html>")


def _cut(path: Path) -> None:
    whole = (path / "1.png").read_bytes()
    (path / "cut.png").write_bytes(whole[: len(whole) // 2])


def _grey16(path: Path) -> None:
    Image.fromarray(np.full((12, 12), 40_000, np.uint16)).save(path / "grey16.png")


def _rgb16(path: Path) -> None:
    write_png(path / "rgb16.png", depth=16, kind=2)


def _rgba16(path: Path) -> None:
    write_png(path / "rgba16.png", depth=16, kind=6)


def _tiff16(path: Path) -> None:
    write_tiff_16(path / "rgb16.tif")


def _ppm16(path: Path) -> None:
    values = np.full((12, 12, 3), 40_000, ">u2").tobytes()
    (path / "rgb16.ppm").write_bytes(b"P6 12 12 65535\n" + values)


def _pgm10(path: Path) -> None:
    (path / "grey10.pgm").write_bytes(b"P5 12 12 1023\n" + np.full((12, 12), 9, ">u2").tobytes())


def _float(path: Path) -> None:
    Image.fromarray(np.zeros((12, 12), np.float32)).save(path / "float.tif")


def write_png(path: Path, depth: int, kind: int) -> None:
    """A PNG of random samples: Pillow writes none of 16-bit colours."""
    import struct
    import zlib

    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    rows = np.random.default_rng(0).integers(256, size=(12, 12 * channels * depth // 8))
    data = b"".join(b"\0" + row.astype(np.uint8).tobytes() for row in rows)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 12, 12, depth, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(data)),
        (b"IEND", b""),
    ]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))
            for tag, body in chunks
        )
    )


def write_tiff_16(path: Path) -> None:
    """A little-endian TIFF of 16-bit RGB in one strip: Pillow writes none."""
    import struct

    pixels = np.full((12, 12, 3), 40_000, "<u2").tobytes()
    tags = [(256, 3, 1, 12), (257, 3, 1, 12), (258, 3, 3, 0), (259, 3, 1, 1), (262, 3, 1, 2),
            (273, 4, 1, 0), (277, 3, 1, 3), (278, 3, 1, 12), (279, 4, 1, len(pixels))]  # fmt: skip
    after = 8 + 2 + 12 * len(tags) + 4
    places = {258: after, 273: after + 6}
    entries = b"".join(struct.pack("<HHII", t, k, n, places.get(t, v)) for t, k, n, v in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(
        b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<HHH", 16, 16, 16) + pixels
    )


BAD: list[tuple[Callable[[Path], None], str]] = [
    (_shallow, "empty.png: is empty"),
    (_pointer, "pointer.png: is a pointer of Git LFS"),
    (_page, "page.jpg: is not a whole image: no BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP begins"),
    (_cut, "cut.png: is not a whole image"),
    (_grey16, "grey16.png: 16 bits a channel, not 8"),
    (_rgb16, "rgb16.png: 16 bits a channel, not 8"),
    (_rgba16, "rgba16.png: 16 bits a channel, not 8"),
    (_tiff16, "rgb16.tif: 16 bits a channel, not 8"),
    (_ppm16, "rgb16.ppm: 16 bits a channel, not 8"),
    (_pgm10, "grey10.pgm: 16 bits a channel, not 8"),
    (_float, "float.tif: 32 bits a channel, not 8"),
]


@pytest.mark.parametrize(("add", "said"), BAD)
def test_a_bad_image_is_named_by_its_path(
    add: Callable[[Path], None], said: str, images: Path
) -> None:
    add(images / "train/zebra")
    message = refused(images)
    assert f"{images}/train/zebra/{said}" in message
    assert "\n" not in message
    assert "0x" not in message


@pytest.mark.parametrize("splits", [("train",), ("test",), ("test", "train")])
def test_all_bad_images_are_named_in_one_run(
    splits: tuple[str, ...], images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "MOST_NAMED", 100)
    for split in splits:
        for add, _ in BAD:
            add(images / split / "zebra")
    lines = refused(images).splitlines()
    count = len(splits) * len(BAD)
    assert lines[0] == f"data set mine: {images}: {count} images cannot be used:"
    assert len(lines) == 1 + count
    for split in splits:
        for _, said in BAD:
            assert any(f"{images}/{split}/zebra/{said}" in line for line in lines)
    assert not list((images.parent / "data/cache/mine").glob("images*"))


def test_but_not_thousands(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MOST_NAMED", 3)
    for number in range(7):
        (images / f"train/ant/{number}.png").write_bytes(b"")
    lines = refused(images).splitlines()
    assert len(lines) == 5
    assert "7 images cannot be used" in lines[0]
    assert lines[-1] == "and 4 more"


def test_a_stop_is_heard_while_only_mistakes_are_looked_for(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_CHECK_EVERY", 1)
    (images / "test/ant/0.png").write_bytes(b"")

    def stop() -> None:
        raise Interrupted(15)

    with pytest.raises(Interrupted):
        describe_folder("mine", images, 12, images.parent / "data", stop)


def _transparent(path: Path) -> None:
    pixels = np.random.default_rng(5).integers(256, size=(12, 12, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def _palette(path: Path) -> None:
    picture().quantize(8).save(path, transparency=0)


def _grey_alpha(path: Path) -> None:
    Image.fromarray(np.full((12, 12), 7, np.uint8)).convert("LA").save(path)
    assert Image.open(path).mode == "LA"


def _opaque(path: Path) -> None:
    picture().convert("RGBA").save(path)


def _turned(path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture().save(path, exif=exif)


def _animated(path: Path) -> None:
    picture(1).save(path, save_all=True, append_images=[picture(2), picture(3)])


def _cmyk(path: Path) -> None:
    picture().convert("CMYK").save(path)


ODD: list[tuple[str, Callable[[Path], None], str]] = [
    ("0.png", _transparent, "images with transparent pixels: 1; the colours behind are taken"),
    ("0.png", _palette, "images with transparent pixels: 1"),
    ("0.png", _grey_alpha, ""),
    ("0.png", _opaque, ""),
    ("0.jpg", _turned, "images with an EXIF orientation: 1; it is not applied"),
    ("0.png", _turned, "images with an EXIF orientation: 1; it is not applied"),
    ("0.gif", _animated, "images with several frames or pages: 1; the first is taken"),
    ("0.tif", _animated, "images with several frames or pages: 1; the first is taken"),
    ("0.webp", _animated, "images with several frames or pages: 1"),
    ("0.jpg", _cmyk, ""),
]


@pytest.mark.parametrize(("name", "make", "said"), ODD)
def test_odd_images_are_read_as_torchvision_does_and_counted(
    name: str,
    make: Callable[[Path], None],
    said: str,
    images: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (images / "train/ant/0.png").unlink()
    make(images / "train/ant" / name)
    data = loaded(images)
    noted = capsys.readouterr().err.splitlines()[1:]
    assert [line for line in noted if "images with" in line and said not in line] == []
    assert (said == "") == (noted == [])
    pages = sorted((images.parent / "data/cache/mine").glob("folder-*.json"))
    assert [f"data set mine: {note}" for note in json.loads(pages[0].read_text())["notes"]] == noted
    file = str(images / "train/ant" / name)
    expected = transforms.functional.pil_to_tensor(datasets.folder.default_loader(file))
    assert torch.equal(data.train.images[0], expected)


def test_the_same_picture_in_train_and_test(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source, target in (("ant/0", "ant/8"), ("ant/1", "ant/9"), ("zebra/1", "ant/91")):
        pixels = Image.open(images / f"test/{source}.png")
        pixels.save(images / f"train/{target}.png", compress_level=1)
    (images / "test/ant/copy.png").write_bytes((images / "test/ant/0.png").read_bytes())
    described(images)
    said = capsys.readouterr().err
    assert (
        f"test images that are training images as well: 4, of another class 1 "
        f"({images}/test/ant/0.png is {images}/train/ant/8.png)"
    ) in said


def make_grey(images: Path) -> None:
    """Half of them saved as RGB."""
    for number, path in enumerate(sorted(images.rglob("*.png"))):
        grey = picture(number, (12, 12))
        (grey.convert("RGB") if number % 2 else grey).save(path)


def test_grey_images_may_keep_one_channel(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_grey(images)
    three = loaded(images)
    assert "channels = 1 keeps" in capsys.readouterr().err
    one = loaded(images, 1)
    assert "channels" not in capsys.readouterr().err
    assert one.train.images.shape == (16, 1, 12, 12)
    assert torch.equal(one.train.images.expand(-1, 3, -1, -1), three.train.images)
    assert one.sha256 != three.sha256
    assert described(images, 1).key != described(images).key


def test_colours_are_no_single_channel(images: Path) -> None:
    make_grey(images)
    pixels = np.full((12, 12, 3), 100, np.uint8)
    pixels[3, 4] = 99, 100, 101
    Image.fromarray(pixels).save(images / "test/ant/2.png")
    assert refused(images, 1) == (
        f"{images}/test/ant/2.png: has colours (red, green and blue differ by up to 2 of 255), and "
        f"channels = 1 is for grey images"
    )


def test_a_cell_on_grey_images(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_grey(images)
    root = images.parent / "data"
    command = ["data", "mine", "--images", str(images), "--image-size", "12", "--channels", "1"]
    assert main([*command, "--data", str(root)]) == 0
    spec = json.loads(capsys.readouterr().out)
    assert spec["image_folder"]["channels"] == 1
    cell = api.cell({**SMALL_CELL, **spec})
    assert api.cell(cell.to_json()) == cell
    folder = api.train(cell, images.parent / "cell", data_root=root)
    clean: Any = [{"kind": "clean"}]
    assert api.attack(folder, clean, data_root=root)["attacks"][0]["samples"] == 8
    with pytest.raises(UserError, match=r"--image-size 12 --channels 1 --data"):
        api.attack(folder, data_root=images.parent / "elsewhere")
    assert main(["data", "digits", "--channels", "1"]) == 2
    assert "--channels goes with --images" in capsys.readouterr().err


def test_a_cache_of_other_images_under_the_name_is_not_used(images: Path) -> None:
    """A file of another folder is put where this one's was: its own checksum is right."""
    root = images.parent / "data"
    mine = described(images)
    other = describe_folder("other", make_image_folder(images.parent / "b", seed=1), 12, root)
    files = [
        root / "cache" / found.name / image_folder._FILE.format(sha256=found.sha256)
        for found in (mine, other)
    ]
    files[0].unlink()
    files[0].write_bytes(files[1].read_bytes())
    with pytest.raises(UserError, match="holds other images, of checksum"):
        api.load_data_set(mine.register(), root)
    assert described(images) == mine, "decoded again"
    assert api.load_data_set(mine.key, root).sha256 == mine.sha256


def test_a_cache_that_was_cut_short_is_made_again_by_who_has_the_images(images: Path) -> None:
    mine = described(images)
    file = images.parent / "data/cache/mine" / image_folder._FILE.format(sha256=mine.sha256)
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:-100])
    assert described(images) == mine
    assert file.read_bytes() == content
