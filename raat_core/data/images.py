"""Image files to pixels."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from raat_core.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded; some of Pillow's other formats start programs."""
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Of eight bits a channel."""
MOST_PIXELS = 64_000_000
Channels: TypeAlias = Literal[1, 3]
Oddity: TypeAlias = Literal["transparent", "turned", "paged"]
"""What of a file does not show in its pixels: transparency, an EXIF orientation, further pages."""
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error)
"""What Pillow raises of damaged files."""
_BITS_PER_SAMPLE, _ORIENTATION = 258, 274
"""Tags of TIFF and EXIF."""
_LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class Picture:
    """A decoded image."""

    pixels: np.ndarray
    """uint8 (C, H, W)."""
    is_grey: bool
    """Whether red, green and blue are equal everywhere."""
    odd: frozenset[Oddity]


def decode(
    data: bytes,
    where: str,
    size: int,
    *,
    resize: bool = False,
    formats: Sequence[str] = FORMATS,
    channels: Channels = 3,
) -> Picture:
    """An image file's pixels, uint8 (`channels`, `size`, `size`); grey ones become RGB.

    As torchvision's loader does, transparency is dropped, an EXIF orientation is not applied
    (Pillow applies TIFF's own), and only the first frame or page is taken; `odd` says so.

    Args:
        data: the file's content.
        where: its name, for messages.
        size: height and width.
        resize: an image of another size is scaled until its shorter side is `size` (bicubic,
            antialiased), then cropped to its centre; without, it is an error.
        formats: of those that Pillow knows.
        channels: 1 keeps one of three equal channels.

    Raises:
        UserError: not an image, damaged, too large (here or when scaled), of more than eight bits,
            of another size, or in colours where one channel is asked for.
    """
    from PIL import Image, UnidentifiedImageError

    if not data or data.startswith(_LFS):
        what = "a pointer of Git LFS, not the image: `git lfs pull`" if data else "empty"
        raise UserError(f"{where}: is {what}")
    try:
        with Image.open(io.BytesIO(data), formats=list(formats)) as image:
            _require_usable(image, where, None if resize else size)
            pixels = image.convert("RGB")
            odd = frozenset(_oddities(image))
    except (*_UNREADABLE, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        if isinstance(error, UnidentifiedImageError):  # It names the address of our buffer.
            reason = f"no {', '.join(formats)} begins like this"
        raise UserError(f"{where}: is not a whole image: {reason}") from error
    found = np.asarray(_scaled(pixels, where, size), dtype=np.uint8)
    is_grey = bool((found == found[:, :, :1]).all())
    if channels == 1 and not is_grey:
        apart = int((found.max(2) - found.min(2)).max())
        raise UserError(
            f"{where}: has colours (red, green and blue differ by up to {apart} of 255), and "
            f"channels = 1 is for grey images"
        )
    kept = np.ascontiguousarray(found.transpose(2, 0, 1)[:channels])
    return Picture(kept, is_grey, odd)


def _require_usable(image: Image.Image, where: str, size: int | None) -> None:
    """Before any pixel is decoded.

    Raises:
        UserError: too many pixels, too many bits, or not `size` × `size`.
    """
    shape = f"{image.width} × {image.height} pixels"
    if image.width * image.height > MOST_PIXELS:
        raise UserError(f"{where}: has {shape}, too many")
    bits = _bits(image)
    if bits > 8 or image.mode not in MODES:
        kind = f"{bits} bits a channel" if bits > 8 else f"Pillow's mode {image.mode}"
        raise UserError(
            f"{where}: {kind}, not 8 bits a channel: save it with 8, how its values are scaled is "
            f"for you to say"
        )
    if size is not None and image.size != (size, size):
        raise UserError(f"{where}: has {shape}, not {size} × {size}")


def _bits(image: Image.Image) -> int:
    """Of a channel in the file; Pillow gives the upper eight of 16-bit colours without a word."""
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, 8)  # type: ignore[attr-defined]
        return int(max(bits) if isinstance(bits, tuple) else bits)
    arguments = [tile[3] for tile in getattr(image, "tile", ())]
    if image.format == "PNG":
        return 16 if image.mode.startswith("I") or any(";16" in str(a) for a in arguments) else 8
    if image.format == "PPM":
        largest = [a[-1] for a in arguments if isinstance(a, tuple) and isinstance(a[-1], int)]
        return 16 if image.mode == "I" else max([8, *(value.bit_length() for value in largest)])
    return 8


def _oddities(image: Image.Image) -> Iterator[Oddity]:
    """Of an image whose pixels were read."""
    if image.has_transparency_data and _smallest(image.convert("RGBA").getchannel("A")) < 255:
        yield "transparent"
    try:
        if image.getexif().get(_ORIENTATION, 1) not in (0, 1):
            yield "turned"
        if getattr(image, "is_animated", False):
            yield "paged"
    except _UNREADABLE:  # What stands beside the pixels is damaged; they are whole.
        return


def _smallest(channel: Image.Image) -> int:
    lowest = channel.getextrema()[0]
    return int(lowest) if isinstance(lowest, (int, float)) else 0


def _scaled(pixels: Image.Image, where: str, size: int) -> Image.Image:
    """As torchvision's Resize and CenterCrop do."""
    from PIL import Image

    if pixels.size == (size, size):
        return pixels
    shorter = min(pixels.size)
    width, height = (int(size * side / shorter) for side in pixels.size)
    if width * height > MOST_PIXELS:
        raise UserError(
            f"{where}: {pixels.width} × {pixels.height} pixels, so long and thin that it would "
            f"be scaled to {width} × {height}"
        )
    pixels = pixels.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return pixels.crop((left, top, left + size, top + size))
