"""Rows and columns of a table in memory, and the numbers that select rows."""

import numpy as np
import pytest
import torch

from lfiw import InputError
from lfiw.data import Column, Table, TensorTable

IMAGES = torch.arange(24, dtype=torch.uint8).view(6, 1, 2, 2)
TABLE = TensorTable({"image": IMAGES, "label": torch.arange(6)})


def test_it_is_a_table():
    assert isinstance(TABLE, Table)
    assert len(TABLE) == 6
    assert TABLE.columns == ("image", "label")
    assert TABLE.column("image") == Column("image", torch.uint8, (1, 2, 2))
    assert TABLE["image"] is IMAGES


@pytest.mark.parametrize(
    "rows",
    [
        [4, 0, 4],
        (4, 0, 4),
        np.array([4, 0, 4]),
        np.array([4, 0, 4], np.uint8),
        torch.tensor([4, 0, 4], dtype=torch.int32),
    ],
    ids=repr,
)
def test_rows_by_number(rows):
    assert torch.equal(TABLE[rows]["image"], IMAGES[[4, 0, 4]])
    assert torch.equal(TABLE.read(rows, ["label"])["label"], torch.tensor([4, 0, 4]))
    assert list(TABLE.read(rows, ["label"])) == ["label"]


@pytest.mark.parametrize("rows", [slice(1, 4), slice(None), slice(-2, None), slice(3, 3), slice(4, 2), slice(0, 99)])
def test_rows_by_slice_are_copies(rows):
    read = TABLE[rows]["image"]
    assert torch.equal(read, IMAGES[rows])
    read.fill_(0)
    assert IMAGES.sum() == 276


def test_one_row_comes_without_its_axis():
    assert torch.equal(TABLE[2]["image"], IMAGES[2])
    assert TABLE[np.int64(2)]["label"] == 2


def test_no_rows():
    assert TABLE[[]]["image"].shape == (0, 1, 2, 2)
    assert TABLE[torch.empty(0, dtype=torch.int64)]["label"].shape == (0,)


@pytest.mark.parametrize("rows", [[-1], [6], [0, 1 << 40], np.array([-3]), torch.tensor([9])], ids=repr)
def test_a_row_that_is_not_there(rows):
    with pytest.raises(InputError, match="does not exist: the table has rows 0 to 5"):
        TABLE[rows]


@pytest.mark.parametrize(
    "rows",
    [torch.tensor([0.5]), torch.tensor([True, False]), torch.tensor([[1]]), torch.tensor(1), np.array(["a"])],
    ids=repr,
)
def test_rows_that_are_no_numbers(rows):
    with pytest.raises(InputError, match="whole numbers"):
        TABLE[rows]


def test_slices_that_are_not_supported():
    with pytest.raises(InputError, match=r"torch\.arange"):
        TABLE[::2]
    with pytest.raises(InputError, match="whole numbers"):
        TABLE["a":"b"]


def test_a_column_that_is_not_there():
    for read in (lambda: TABLE["pixels"], lambda: TABLE.column("pixels"), lambda: TABLE.read([0], ["pixels"])):
        with pytest.raises(InputError, match="no column 'pixels': the table has image, label"):
            read()


@pytest.mark.parametrize(
    "columns",
    [{}, {"a": torch.zeros(0)}, {"a": torch.tensor(1)}, {"a": torch.zeros(2), "b": torch.zeros(3)}],
    ids=["none", "empty", "scalar", "lengths"],
)
def test_columns_that_make_no_table(columns):
    with pytest.raises(InputError, match="columns of one length"):
        TensorTable(columns)
