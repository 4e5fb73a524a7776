"""Arrays of any origin as tensors. Oracle: NumPy's own values."""

import warnings

import numpy as np
import pytest
import torch

from lfiw import InputError
from lfiw.data import TensorTable
from lfiw.tensors import to_tensor

VALUES = np.random.default_rng(0).integers(0, 100, (4, 6))
TYPES = ["?", "i1", "u1", ">i2", ">u2", "<i4", ">u4", ">i8", "u8", "f2", ">f2", "f4", ">f4", ">f8", "g", ">g"]


@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_of_numbers(dtype):
    array = VALUES.astype(dtype)
    tensor = to_tensor(array)
    np.testing.assert_array_equal(tensor.numpy(), array)
    assert tensor.numpy().dtype.isnative
    assert tensor.dtype == (
        torch.float64 if array.dtype.char == "g" else torch.from_numpy(VALUES.astype(array.dtype.char)).dtype
    )


def test_every_memory_layout(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    record = np.zeros(4, dtype=[("a", "u1"), ("b", ">f8")])
    frozen = VALUES.copy()
    frozen.flags.writeable = False
    for array in (
        np.asfortranarray(VALUES), VALUES[::-1, ::-2], VALUES.T, np.broadcast_to(VALUES[0], (4, 6)), frozen,
        record["b"], np.load(tmp_path / "a.npy", mmap_mode="r"), np.ma.masked_array(VALUES), np.array(3),
        np.frombuffer(bytes(8)),
    ):  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tensor = to_tensor(array)
        assert tensor.is_contiguous()
        np.testing.assert_array_equal(tensor.numpy(), array)
        before = np.array(array)
        tensor.zero_()  # writable, and nobody else's
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros(2, dtype=[("a", "f4"), ("b", "f4")]), "x is structured, with the fields a, b: save plain columns"),
        (np.zeros(2, complex), "x holds complex numbers"),
        (np.zeros(2, object), "x holds Python objects"),
        (np.zeros(2, "U3"), "x holds text"),
        (np.zeros(2, "S3"), "x holds bytes of text"),
        (np.zeros(2, "V2"), r"x holds raw bytes .*save them as float32"),
        (np.zeros(2, "M8[s]"), "x holds dates"),
        (np.ma.masked_array([1, 2], [0, 1]), "x has masked elements"),
    ],
    ids=str,
)
def test_what_holds_no_numbers(array, told):
    with pytest.raises(InputError, match=told):
        to_tensor(array, "x")


def test_rows_of_a_table_by_numbers_of_any_byte_order():
    table = TensorTable({"x": torch.arange(5)})
    assert table[np.array([3, 1], dtype=">i4")]["x"].tolist() == [3, 1]
    with pytest.raises(InputError, match="rows are not a list of whole numbers"):
        table[np.array(["a"])]
