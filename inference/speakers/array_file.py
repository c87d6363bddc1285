"""Files of a header and NumPy arrays, one behind the other, which are mapped into memory instead of read."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from storage.files import written_whole

Array = NDArray[Any]
ALIGNMENT = 64  # bytes, as NumPy aligns arrays in files


def write_arrays(path: Path, header: dict[str, Any], arrays: Sequence[Array]) -> None:
    """Write a header of plain values and arrays, whole or not at all; raises OSError.

    Where the items of all arrays but the last have 8 bytes, the arrays are aligned; products of others are
    ten times as slow.
    """
    encoded = json.dumps(header, sort_keys=True).encode()
    text = np.frombuffer(encoded.ljust(-(-len(encoded) // ALIGNMENT) * ALIGNMENT), np.uint8)
    with written_whole(path) as stream:
        for array in (text, *arrays):
            npy.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)


def map_arrays(path: Path, count: int) -> tuple[dict[str, Any], list[Array]] | None:
    """A file of `count` arrays -> its header and arrays; None if it is missing, damaged or something else."""
    try:
        with path.open("rb") as stream:
            text, *arrays = (_mapped(stream) for _ in range(1 + count))
        header = json.loads(text.tobytes())
    except (OSError, ValueError):
        return None
    return (header, arrays) if isinstance(header, dict) else None


def _mapped(stream: BinaryIO) -> Array:
    """A file at the beginning of an array -> the array; leaves the file at the array's end.

    Maps the open file: under its path another process may have put a newer one.
    """
    if npy.read_magic(stream) != (1, 0):
        raise ValueError("expected an array of NumPy's format 1.0")
    shape, is_fortran, dtype = npy.read_array_header_1_0(stream)
    if is_fortran or dtype.hasobject:
        raise ValueError("expected an array as this file writes it")
    begin = stream.tell()
    size = math.prod(shape) * dtype.itemsize
    if begin + size > os.fstat(stream.fileno()).st_size:
        raise ValueError("truncated")
    array = np.memmap(stream, dtype, "r", begin, shape) if size else np.empty(shape, dtype)
    stream.seek(begin + size)
    return array
