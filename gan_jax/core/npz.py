"""The image shape of an .npz file, read from its header only, for the defaults of configs."""

from __future__ import annotations

import zipfile
from pathlib import Path

from numpy.lib import format as npy


def stored_shape(path: str) -> tuple[int, int, int] | None:
    """Return (height, width, channels) of array "image"; None if no such array can be read.

    No error is raised here: opening the data reports what is wrong with the file.
    """
    try:
        with (
            zipfile.ZipFile(Path(path).expanduser()) as archive,
            archive.open("image.npy") as file,
        ):
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
            shape, _, _ = read[npy.read_magic(file)](file)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    if len(shape) not in (3, 4):
        return None
    return shape[1], shape[2], shape[3] if len(shape) == 4 else 1
