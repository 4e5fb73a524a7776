"""Files of unknown origin: archives, checkpoints and networks, read within bounds and without running code."""

import contextlib
import hashlib
import io
import json
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from lfiw.errors import InputError, first_line, printable

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack without a bound on the output per call
HARMLESS_BYTES = 1 << 30  # an archive that unpacks to less may have any ratio of compression
MOST_PACKED = 200  # ratio: sorted drawings and labels stay below; zeros alone, as in a zip bomb, reach 1,000
CHUNK_BYTES = 1 << 20
BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError)  # by zipfile


class Archive:
    """A zip file, checked and opened for reading.

    Args:
        path: of the file.

    Attributes:
        members: name → entry, without the folders.

    Raises:
        InputError: it is not a zip file, two members have the same name, one would land outside the target folder or is
            compressed by another method than deflate, or the whole unpacks to far more than real files do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (*BROKEN, ValueError) as error:
            raise InputError(
                f"{path}: not a zip archive, or only a part of one ({first_line(error)}): write or download it again"
            ) from None
        try:
            entries = [entry for entry in self._zip.infolist() if not entry.is_dir()]
            self._check(entries)
        except InputError:
            self._zip.close()
            raise
        self.members = {entry.filename: entry for entry in entries}

    def _check(self, entries: list[zipfile.ZipInfo]) -> None:
        for entry in entries:
            name = PurePosixPath(entry.filename)
            if name.is_absolute() or ".." in name.parts:
                raise InputError(f"{self.path}: {entry.filename!r} leads out of the archive: make it again")
            if entry.compress_type not in METHODS:
                raise InputError(f"{self.path}: {entry.filename!r} is packed by another method than deflate")
        unpacked, packed = sum(entry.file_size for entry in entries), self.path.stat().st_size
        if unpacked > max(HARMLESS_BYTES, MOST_PACKED * packed):
            raise InputError(
                f"{self.path}: {packed:,} bytes that unpack to {unpacked:,}, as no real file does; if it is meant, "
                "make it again without compression"
            )
        names = Counter(PurePosixPath(entry.filename) for entry in entries)
        if len(names) < len(entries):
            name, times = names.most_common(1)[0]
            raise InputError(f"{self.path}: {times} entries are called {printable(name)}: make it again")

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator["BoundedReader"]:
        """Opens a member, to be read in bounded chunks.

        Raises:
            InputError: there is no such member, or it is damaged.
        """
        try:
            with self._zip.open(self.members[name]) as member:
                yield BoundedReader(cast(zipfile.ZipExtFile, member))
        except KeyError:
            raise InputError(f"{self.path}: there is no {name} in it") from None
        except BROKEN as error:
            raise InputError(f"{self.path}: {name} is damaged ({first_line(error)}): make it again") from None

    def read(self, name: str, most: int = HARMLESS_BYTES) -> bytes:
        """Reads a member's whole content.

        Raises:
            InputError: as `open`, or it has more than `most` bytes.
        """
        with self.open(name) as member:
            if self.members[name].file_size > most:
                raise InputError(f"{self.path}: {name} has {self.members[name].file_size:,} bytes, at most {most:,}")
            return member.read(self.members[name].file_size)

    def close(self) -> None:
        self._zip.close()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BoundedReader:
    """A member's stream, read in chunks: `zipfile` alone unpacks whatever it is asked for, beyond the stated size."""

    def __init__(self, member: zipfile.ZipExtFile) -> None:
        self._member = member

    def read(self, size: int) -> bytes:
        """Reads the next `size` bytes, fewer at the end."""
        parts = []
        while size > 0 and (part := self._member.read(min(size, CHUNK_BYTES))):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def state_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """Hashes a state dict's names and values by SHA-256, independent of anything else in its file."""
    digest = hashlib.sha256()
    for name, values in sorted(state.items()):
        digest.update(name.encode())
        digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_checkpoint(
    path: str | os.PathLike[str] | io.BytesIO, map_location: Any = None, *, name: str | None = None
) -> Any:
    """Reads a checkpoint without running any code in it.

    Args:
        name: its name in messages, if it is not a path.

    Raises:
        InputError: there is no such file, or it is broken or holds more than tensors and plain values.
    """
    name = name or str(path)
    try:
        check_archive(path)
        return torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{name} does not exist") from None
    except UnpicklingError:  # torch's own message recommends loading it all the same
        what = "it is broken, or holds more than tensors and plain values, none of which was run"
        raise InputError(f"{name} cannot be read as a checkpoint: {what}") from None
    except Exception as error:  # whatever a broken or malicious file makes torch.load raise
        raise InputError(f"{name} cannot be read as a checkpoint: {first_line(error)}") from None


def check_archive(path: str | os.PathLike[str] | io.BytesIO) -> None:
    """Checks that nothing is compressed: `torch.save` never does, and a packed file could fill the memory.

    Raises:
        ValueError: something is compressed, or the archive is a TorchScript program, which is code.
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


HARMLESS_NUMBERS = 1 << 27  # half a gigabyte of parameters
MOST_TENSORS = 10_000
TIMES = 16  # how much larger a network may be than the saved part: critic, encoder, average
# a checkpoint describes its network under one of these keys
CHECKPOINTS_OF = {
    "classifier": "a ratio classifier",
    "generator": "a generator",
    "dynamics": "a dynamics model",
    "dagan": "a drawing generator",
}

M = TypeVar("M", bound=nn.Module)


def network_file(key: str, about: Mapping[str, Any], state: Mapping[str, Tensor]) -> bytes:
    """Returns the content of a safetensors file: weights, and what their network is built from as JSON under `key`."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    return save(tensors, {key: json.dumps(about)})


def read_network(
    path: str | os.PathLike[str], key: str, what: str, kind: str | None = None, *, remedy: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads the options and weights of a network from a checkpoint or a file of `network_file`.

    Args:
        key: that of the description.
        what: the expected kind of network, in messages.
        kind: names that the description may give.
        remedy: what to do if there is no such file.

    Raises:
        InputError: there is no such file, it is broken, or it describes something else.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist: {remedy}")
    if path.suffix == ".safetensors" or not (path.suffix == ".ckpt" or zipfile.is_zipfile(path)):
        about, state = read_weights(path, key, what)
        if about.get("kind") != kind:
            raise InputError(f"{path} holds other weights than those of {what}")
        return about, state
    checkpoint = read_checkpoint(path, "cpu")
    content = checkpoint if isinstance(checkpoint, dict) else {}
    described = content.get(key)
    if not isinstance(described, dict) or described.get("kind") != kind:
        other = next((name for known, name in CHECKPOINTS_OF.items() if known in content and known != key), None)
        raise InputError(f"{path} is not a checkpoint of {what} but of {other or 'something else'}")
    return described, content["state_dict"]


@contextlib.contextmanager
def naming(path: str | os.PathLike[str], problem: str) -> Iterator[None]:
    """Turns any exception that a file's contradictory content raises into one line: file, problem, reason.

    Raises:
        InputError: an exception was raised inside.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, InputError) and str(error).startswith(str(path)):
            raise
        reason = f"no {error}" if isinstance(error, KeyError) else first_line(error)
        raise InputError(f"{path} {problem}: {reason}") from None


def part_of(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Returns one part's weights by their names in it; all weights if they are only that part's."""
    prefix = f"{part}."
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return own or dict(state)


def read_weights(path: str | os.PathLike[str], key: str, what: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads the JSON under `key` in a safetensors file, and its tensors.

    Args:
        what: the expected content, in messages.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is another kind of file, or has nothing under that key.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(key, "null"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} does not hold {what}: it cannot be read as safetensors ({first_line(error)})"
        ) from None
    if not isinstance(about, dict):
        raise InputError(f"{path} holds other weights than those of {what}")
    return about, state


def built_for(state: Mapping[str, Tensor], build: Callable[[], M], part: str = "") -> M:
    """Builds a network from the options that came with its weights, and loads the weights.

    It is first built without allocating memory: a few bytes of options can ask for any number of layers of any width.

    Args:
        state: the weights.
        build: makes the network.
        part: the submodule that the weights belong to. If empty, the whole network.

    Raises:
        ValueError: the network would be far larger than its weights, or a weight's name or shape does not fit it.
    """
    size = sum(min(v.numel(), v.untyped_storage().nbytes() // v.element_size()) for v in state.values())
    most = max(HARMLESS_NUMBERS, TIMES * size)
    numbers = tensors = 0

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal numbers, tensors
        numbers, tensors = numbers + (tensor.numel() if tensor is not None else 0), tensors + 1
        if numbers > most or tensors > MOST_TENSORS:
            raise ValueError(f"its options ask for a network much larger than its {size:,} weights")

    hooks = [
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    ]
    try:
        with torch.device("meta"):
            build()
    finally:
        for hook in hooks:
            hook.remove()
    network = build()
    own = network.get_submodule(part)
    expected, actual = ({k: tuple(v.shape) for k, v in values.items()} for values in (own.state_dict(), state))
    for name in sorted(expected.keys() | actual.keys()):
        if expected.get(name) != actual.get(name):
            raise ValueError(f"{name} has shape {actual.get(name)}, expected {expected.get(name)}")
    own.load_state_dict(dict(state))
    return network
