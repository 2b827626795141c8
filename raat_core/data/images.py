"""Image files to pixels."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from raat_core.errors import UserError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded; some of Pillow's other formats start programs."""
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Of eight bits a channel."""
MOST_PIXELS = 64_000_000


def decode(
    data: bytes, where: str, size: int, *, resize: bool = False, formats: Sequence[str] = FORMATS
) -> np.ndarray:
    """Pixels uint8 (3, `size`, `size`) of an image file; grey ones become RGB.

    Args:
        data: the file's content.
        where: its name, for messages.
        size: height and width.
        resize: an image of another size is scaled until its shorter side is `size` (bicubic,
            antialiased), then cropped to its centre; without, it is an error.
        formats: of those that Pillow knows.

    Raises:
        UserError: not an image, damaged, too large (here or when scaled), of more than eight bits,
            or of another size.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=list(formats)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise UserError(f"{where}: has {image.width} × {image.height} pixels, too many")
            if image.mode not in MODES:
                raise UserError(f"{where}: Pillow's mode {image.mode}, not 8 bits a channel")
            if image.size != (size, size) and not resize:
                raise UserError(
                    f"{where}: has {image.width} × {image.height} pixels, not {size} × {size}"
                )
            pixels = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{where}: is not a whole image: {reason}") from error
    if pixels.size != (size, size):
        # As torchvision's Resize and CenterCrop do.
        shorter = min(pixels.size)
        width, height = (int(size * side / shorter) for side in pixels.size)
        if width * height > MOST_PIXELS:
            raise UserError(
                f"{where}: {pixels.width} × {pixels.height} pixels, so long and thin that it would "
                f"be scaled to {width} × {height}"
            )
        pixels = pixels.resize((width, height), Image.Resampling.BICUBIC)
        left, top = round((width - size) / 2), round((height - size) / 2)
        pixels = pixels.crop((left, top, left + size, top + size))
    return np.ascontiguousarray(np.asarray(pixels, dtype=np.uint8).transpose(2, 0, 1))
