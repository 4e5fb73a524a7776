"""Data sets of Hugging Face that `save_to_disk` wrote to a folder; the library itself is not needed to read them."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from lfiw.data.importers import Imported
from lfiw.data.importers.arrow import (
    ArrowFile,
    ArrowTable,
    TableOptions,
    import_arrow,
    load_pyarrow,
    provenance,
    reading,
)
from lfiw.errors import InputError, nearest, printable
from lfiw.files import read_json

STATE, SPLITS = "state.json", "dataset_dict.json"
KIND = "an Arrow stream"


def import_huggingface(path: Path, split: str | None = None, **options: Unpack[TableOptions]) -> Imported:
    """Imports the samples of a data set that `datasets.Dataset.save_to_disk` wrote, or of one split of a `DatasetDict`.

    Columns are read as `lfiw.data.importers.parquet.import_parquet` reads them, in the types in which they are stored:
    float64 stays float64 where its values need it. The names of a `ClassLabel` go into the cache's provenance.

    Args:
        split: required if there are several.
        options: which columns are the samples, and how they are read.

    Raises:
        InputError: as `import_parquet`, or the folder is none of these.
    """
    load_pyarrow()
    folder = split_folder(path, split)
    table = ArrowTable(folder, [open_stream(file) for file in stream_files(folder)])
    return import_arrow(
        table,
        provenance(path, [file.path for file in table.files]) | ({"split": folder.name} if folder != path else {}),
        classes=class_names(table.schema),
        **options,
    )


def split_folder(path: Path, split: str | None) -> Path:
    """Returns the folder of a data set, or of one split of several.

    Raises:
        InputError: there is no such folder or split, or there are several and none is named.
    """
    if not path.is_dir():
        raise InputError(f"{printable(path)}: {'a file' if path.is_file() else 'no such folder'}: {expected(path)}")
    if not (path / SPLITS).is_file():
        if not (path / STATE).is_file():
            raise InputError(f"{printable(path)}: it has no {STATE}: {expected(path)}")
        if split is not None:
            raise InputError(f"{printable(path)}: one data set without splits: leave out --split")
        return path
    splits = read_json(path / SPLITS).get("splits")
    if not isinstance(splits, list) or not all(isinstance(name, str) and Path(name).name == name for name in splits):
        raise InputError(f"{printable(path / SPLITS)}: expected names of splits: it is damaged, write it again")
    if split is None and len(splits) != 1:
        raise InputError(f"{path}: it has several splits: give --split, one of {', '.join(splits)}")
    chosen = splits[0] if split is None else split
    if chosen not in splits:
        raise InputError(f"{path}: no split {chosen!r}{nearest(chosen, splits)}; it has {', '.join(splits)}")
    return path / chosen


def expected(path: Path) -> str:
    """Says what a path should be, and what it may be in its place."""
    if path.is_file() and path.suffix == ".parquet":
        return f"import it as parquet {path}"
    if path.is_dir() and any(path.glob("*.parquet")):
        return f"there are Parquet files in it: import it as parquet {path}"
    return "expected a folder that save_to_disk of Hugging Face's datasets wrote"


def stream_files(folder: Path) -> list[Path]:
    """Lists the files of a data set, as its state.json does.

    Raises:
        InputError: it lists none, or one is missing.
    """
    state = read_json(folder / STATE)
    files = state.get("_data_files")
    entries = files if isinstance(files, list) and all(isinstance(file, dict) for file in files) else []
    names = [str(entry.get("filename")) for entry in entries]
    if not names or not all(Path(name).name == name for name in names):
        raise InputError(f"{printable(folder / STATE)}: names no data files: it is damaged, write the data set again")
    if state.get("_indices_files"):
        raise InputError(f"{printable(folder)}: a selection of rows: write it again after flatten_indices()")
    if absent := [name for name in names if not (folder / name).is_file()]:
        raise InputError(f"{printable(folder / absent[0])}: no such file, though {STATE} names it: copy it there too")
    return [folder / name for name in names]


def open_stream(path: Path) -> ArrowFile:
    """Reads the schema of a file and counts its rows. Raises as `open_parquet`."""
    import pyarrow.ipc

    with reading(path, KIND), pyarrow.memory_map(str(path)) as file, pyarrow.ipc.open_stream(file) as stream:
        return ArrowFile(path, stream.schema, sum(batch.num_rows for batch in stream), partial(batches_of, path))


def batches_of(path: Path, first: int, columns: Sequence[str]) -> Iterator[Any]:
    """Yields record batches from a row on; the file is mapped, so that those before it cost nothing."""
    import pyarrow.ipc

    with reading(path, KIND), pyarrow.memory_map(str(path)) as file, pyarrow.ipc.open_stream(file) as stream:
        for batch in stream:
            if first < batch.num_rows:
                yield batch.select(list(columns)).slice(first)
            first = max(0, first - batch.num_rows)


def class_names(schema: Any) -> dict[str, list[str]]:
    """Returns column → the names of its classes, if the data set has them."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: [str(of) for of in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
