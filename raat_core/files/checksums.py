"""Plain data and arrays in files that hold their own checksum.

Tensors are kept as NumPy arrays here: what reads records needs no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from raat_core.errors import Damaged, UserError
from raat_core.files.atomic import write_bytes, write_text
from raat_core.validation import one_line

Arrays = dict[str, np.ndarray]
CHECKSUM = "checksum"
"""The key of a sealed JSON file that holds the SHA-256 of the rest."""


def file_checksum(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(one_line(f"cannot read {path}: {error.strerror or error}")) from error


def write_json(path: Path, data: object) -> None:
    """`write_bytes` of indented JSON; NaN is an error."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_sealed_json(path: Path, data: Mapping[str, Any]) -> None:
    """`write_json` with a checksum of the data among them, which `read_json` looks at."""
    write_json(path, {**data, CHECKSUM: data_checksum(data)})


def data_checksum(data: object) -> str:
    """SHA-256 of plain data, whatever the order of keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def read_json(path: Path) -> Any:
    """Plain data from a JSON file, without its checksum if it has one.

    Raises:
        Damaged: the file is not whole JSON, or fails its checksum.
        UserError: it is missing or cannot be read.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise Damaged(f"{path} is not valid JSON, cut short or damaged: {error}") from error
    if isinstance(data, dict) and CHECKSUM in data:
        expected = data.pop(CHECKSUM)
        if data_checksum(data) != expected:
            raise Damaged(f"{path} is damaged: its checksum does not match its contents")
    return data


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> str:
    """Write a safetensors file; returns the SHA-256 of the arrays, which it holds too."""
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    checksum = checksum_of(contiguous, metadata)
    header = {"metadata": json.dumps(metadata, sort_keys=True), "sha256": checksum}
    write_bytes(path, safetensors.numpy.save(contiguous, metadata=header))
    return checksum


def read_arrays(path: Path) -> tuple[Arrays, dict[str, Any], str]:
    """Arrays, metadata and checksum of a file that `write_arrays` wrote.

    Raises:
        Damaged: the file is truncated or fails its checksum.
        UserError: it is missing or cannot be read.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata: dict[str, Any] = json.loads(header["metadata"])
        expected = header["sha256"]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise Damaged(f"{path} is truncated or not a file of this program: {error}") from error
    if checksum_of(arrays, metadata) != expected:
        raise Damaged(f"{path} is damaged: its checksum does not match its contents")
    return arrays, metadata, expected


def read_metadata(path: Path) -> dict[str, Any]:
    """Metadata alone of a file that `write_arrays` wrote; the arrays are neither read nor checked.

    Raises:
        UserError: the file is missing or truncated, or has none.
    """
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata: dict[str, Any] = json.loads((file.metadata() or {})["metadata"])
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise Damaged(f"{path} is truncated or not a file of this program: {error}") from error
    return metadata


def checksum_of(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes, contents and metadata, in the order of names."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}|{array.dtype}|{array.shape}|".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
