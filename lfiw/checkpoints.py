"""Checkpoints that are whole or absent."""

import errno
import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO

from lfiw.calibration import Calibrator
from lfiw.errors import InputError, first_line
from lfiw.files import replacing

FREE_BYTES = 1 << 20  # with less than that, a disk is full


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, waits for the disk and renames: a kill leaves the previous checkpoint.

    Lightning's own writer goes through the system's temporary folder and, where that is another file system, overwrites
    the previous checkpoint in place. Reading runs no code from the file.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        write_checkpoint(checkpoint, path)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        return read_checkpoint(path, map_location)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        Path(path).unlink(missing_ok=True)


def write_checkpoint(content: Any, path: str | os.PathLike[str]) -> None:
    """Whole or not at all.

    Raises:
        InputError: the file system refuses.
    """
    with replacing(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # torch's writer knows no OSError: of a full disk it says “unexpected pos”
            if "inline_container" not in str(error):
                raise
            full = shutil.disk_usage(temporary.parent).free < FREE_BYTES
            number = errno.ENOSPC if full else errno.EIO
            raise OSError(number, os.strerror(number)) from error


def state_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of a state dict's names and values: the same for the same network, whatever else its file holds."""
    digest = hashlib.sha256()
    for name, values in sorted(state.items()):
        digest.update(name.encode())
        digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_calibrator(file: Path, calibrator: Calibrator | None) -> None:
    """Keep a calibrator, as plain numbers, in the checkpoint of the classifier that it was fitted for.

    A kill leaves the checkpoint as it was.

    Raises:
        InputError: the file cannot be read or written.
    """
    checkpoint = read_checkpoint(file, "cpu")  # the machine that calibrates may lack the one's device that trained
    state = calibrator.state() if calibrator is not None else None
    if checkpoint["classifier"].get("calibrator") != state:
        checkpoint["classifier"]["calibrator"] = state
        write_checkpoint(checkpoint, file)


def read_checkpoint(
    path: str | os.PathLike[str] | io.BytesIO, map_location: Any = None, *, name: str | None = None
) -> Any:
    """What a checkpoint holds. No code in the file is run.

    Args:
        name: what to call it in messages, where it is not a path.

    Raises:
        InputError: no such file, or it is broken or holds more than tensors and plain values.
    """
    name = name or str(path)
    try:
        check_archive(path)
        return torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{name} does not exist") from None
    except UnpicklingError:  # torch's own message recommends to load it all the same
        what = "it is broken, or holds more than tensors and plain values, none of which was run"
        raise InputError(f"{name} cannot be read as a checkpoint: {what}") from None
    except Exception as error:  # whatever a broken or malicious file makes torch.load raise
        raise InputError(f"{name} cannot be read as a checkpoint: {first_line(error)}") from None


def check_archive(path: str | os.PathLike[str] | io.BytesIO) -> None:
    """`torch.save` packs nothing: what claims to unpack to more than the file's size would fill the memory.

    Raises:
        ValueError: it does, or the archive is a TorchScript program, which is code.
    """
    is_archive = zipfile.is_zipfile(path)
    if isinstance(path, io.BytesIO):
        path.seek(0)
    if not is_archive:
        return  # torch says what it is
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise ValueError("it is a TorchScript program, whose code is not run; save its state_dict() instead")
    if isinstance(path, io.BytesIO):
        path.seek(0)
    size = len(path.getbuffer()) if isinstance(path, io.BytesIO) else os.stat(path).st_size
    packed = any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > size:
        raise ValueError("its content is packed, which torch.save does not do")
