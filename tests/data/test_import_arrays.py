"""`.npz` and `.npy` files."""

import numpy as np
import pytest
import torch

from lfiw import InputError
from lfiw.data.importers.arrays import import_arrays

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(12, dtype=np.int32) % 4


def read(imported):
    blocks = list(imported.blocks())
    return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}


@pytest.fixture
def save(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "samples.npz", **arrays)
        return tmp_path / "samples.npz"

    return save


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("arr_0", "targets"), ("samples", "label")])
def test_usual_names(save, names):
    imported = import_arrays(save(**{names[0]: IMAGES, names[1]: LABELS}))
    columns = read(imported)
    assert list(columns) == ["image", "label"]
    np.testing.assert_array_equal(columns["image"].numpy(), IMAGES.transpose(0, 3, 1, 2))
    assert columns["label"].dtype == torch.int64
    assert columns["label"].tolist() == LABELS.tolist()
    assert imported.source["file"] == "samples.npz"
    assert len(imported.source["sha256"]) == 64


def test_the_only_array_whatever_its_name_and_compressed(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", whatever=IMAGES)
    assert read(import_arrays(tmp_path / "a.npz"))["image"].shape == (12, 3, 6, 6)


def test_key(save):
    path = save(good=IMAGES, bad=IMAGES[:3])
    assert len(read(import_arrays(path, key="bad"))["image"]) == 3
    with pytest.raises(InputError, match=r"Give --key NAME, one of: good \(12, 6, 6, 3\), bad \(3, 6, 6, 3\)"):
        import_arrays(path)
    with pytest.raises(InputError, match="no array 'ugly': it has good"):
        import_arrays(path, key="ugly")
    with pytest.raises(InputError, match="Give --key NAME"):
        import_arrays(save(images=IMAGES, samples=IMAGES))


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (LABELS[:5], r"int32 (5,): expected one class for each of 12 samples"),
        (np.array(3), "int64 (): expected one class for each of 12 samples"),
        (LABELS + 0.5, "float64, not all whole numbers"),
        (np.full(12, np.nan), "float64, not all whole numbers"),
        (LABELS - 1, "from -1 to 2, expected classes from 0"),
        (np.eye(12) * 2, "float64 (12, 12): neither one class for each sample nor one-hot rows"),
        (np.full(12, "cat"), "it holds text (<U3), expected numbers: save numbers"),
        (np.full(12, "cat", object), "holds pickled Python objects, which are never loaded"),
    ],
    ids=str,
)
def test_what_is_no_label_is_left_out_and_said(save, labels, told):
    imported = import_arrays(save(images=IMAGES, labels=labels, extra=np.zeros(3)))
    assert list(read(imported)) == ["image"]
    assert imported.notes[-1].startswith("ignored: ")
    assert f"labels ({told})" in imported.notes[-1]
    assert "extra (float64 (3,))" in imported.notes[-1]


@pytest.mark.parametrize(
    "labels",
    [LABELS[:, None], LABELS.astype(">f8"), LABELS.astype(">i2"), np.eye(5)[LABELS], np.eye(4, dtype=bool)[LABELS]],
    ids=str,
)
def test_labels_however_they_are_kept(save, labels):
    columns = read(import_arrays(save(Images=IMAGES, Labels=labels)))
    assert columns["label"].dtype == torch.int64
    assert columns["label"].tolist() == LABELS.tolist()


def test_images_as_matlab_keeps_them(save):
    path = save(X=IMAGES.transpose(1, 2, 3, 0), y=LABELS)
    with pytest.raises(InputError, match="--layout hwcn"):
        import_arrays(path)
    columns = read(import_arrays(path, layout="hwcn"))
    np.testing.assert_array_equal(columns["image"].numpy(), IMAGES.transpose(0, 3, 1, 2))
    assert columns["label"].tolist() == LABELS.tolist()
    with pytest.raises(InputError, match="is not HWCN"):
        import_arrays(save(x=IMAGES), layout="hwcn")


def test_objects_beside_samples(save):
    path = save(images=IMAGES, names=np.array(["a"] * 12, dtype=object))
    assert read(import_arrays(path))["image"].shape == (12, 3, 6, 6)
    with pytest.raises(InputError, match="names holds pickled Python objects, which are never loaded: save arrays"):
        import_arrays(path, key="names")
    with pytest.raises(InputError, match="images holds pickled Python objects"):
        import_arrays(save(images=np.array(["a"] * 12, dtype=object), labels=np.zeros((12, 3))))


def test_npy_is_mapped(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES.astype(np.float32) / 255)
    imported = import_arrays(tmp_path / "a.npy")
    np.testing.assert_array_equal(read(imported)["image"].numpy(), IMAGES.transpose(0, 3, 1, 2))
    assert any("in [0, 1], detected" in note for note in imported.notes)
    assert any("NHWC, detected" in note for note in imported.notes)


def test_vectors(save):
    values = np.random.default_rng(0).normal(size=(12, 5))
    columns = read(import_arrays(save(x=values)))
    assert list(columns) == ["vector"]
    np.testing.assert_array_equal(columns["vector"].numpy(), values.astype(np.float32))
    with pytest.raises(InputError, match="vectors, not images: leave out"):
        import_arrays(save(x=values), value_range="unit")
    values[7, 2] = np.nan
    with pytest.raises(InputError, match="row 7 holds NaN"):
        import_arrays(save(x=values))
    with pytest.raises(InputError, match="more than float32 can hold"):
        import_arrays(save(x=values[:7] * 1e300))


def columns_of(*columns):
    return np.stack(columns, axis=1)


NORMAL = np.random.default_rng(1).normal(size=100)
WHOLE = np.random.default_rng(1).integers(0, 10**9, 100)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (columns_of(NORMAL, 10 * NORMAL + 20), np.float32),
        (columns_of(NORMAL, NORMAL + 5.4e6), np.float64),  # metres on a map
        (columns_of(NORMAL, NORMAL * 1e-9 + 100), np.float64),  # prices
        (columns_of(NORMAL + 1e12, NORMAL), np.float64),
        (columns_of(WHOLE, WHOLE + 1_700_000_000_000_000_000), np.float64),  # nanoseconds since 1970
        (columns_of(WHOLE % 256, WHOLE % 1000 + 2**20), np.float32),  # whole numbers that float32 holds
        (columns_of(NORMAL, NORMAL + 5.4e6).astype(np.float32), np.float32),  # nothing more to keep
        (columns_of(NORMAL, NORMAL + 5.4e6).astype(">f8"), np.float64),
    ],
)
def test_vectors_keep_a_millionth_of_each_columns_spread(save, values, dtype):
    imported = import_arrays(save(x=values))
    kept = read(imported)["vector"].numpy()
    assert kept.dtype == dtype
    assert f"kept as {np.dtype(dtype)}" in imported.notes[0]
    exact = values.astype(np.longdouble)
    assert (np.abs(kept - exact).max(0) <= 1e-6 * exact.std(0)).all()


@pytest.mark.parametrize(
    "values", [columns_of(WHOLE, WHOLE % 1000 + 2**60), columns_of((WHOLE % 3).astype("u8") + np.uint64(2**63))]
)
def test_whole_numbers_that_float64_cannot_tell_apart(save, values):
    j = values.shape[1] - 1
    expected = rf"number {j} of the vectors .* finer than float64 can hold there: subtract {values[0, j]} from it"
    with pytest.raises(InputError, match=expected):
        import_arrays(save(x=values))
    constant = np.full((5, 2), 2**60 + 1)
    assert len(read(import_arrays(save(x=constant)))["vector"]) == 5


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 3, 4, 4)), "no samples in it"),
        (np.array(3.0), "no samples in it"),
        (np.zeros(5), r"expected images \(N, H, W\).*save array\[:, None\]"),
        (np.zeros(5, dtype=[("a", "f4"), ("b", "f4")]), "structured, with the fields a, b: save plain columns"),
        (np.zeros((2, 3, 4, 5, 6)), r"expected images \(N, H, W\)"),
        (np.full((2, 3), "text"), "expected numbers"),
        (np.full((2, 3, 5, 5), 7.0), "--range"),
    ],
)
def test_arrays_that_hold_no_samples(save, array, message):
    with pytest.raises(InputError, match=r"samples\.npz: .*" + message):
        import_arrays(save(x=array))


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_pickles_are_never_run(tmp_path, suffix):
    array = np.array([Bomb()], dtype=object)
    path = tmp_path / f"bomb.{suffix}"
    if suffix == "npz":
        np.savez(path, x=array)
    else:
        np.save(path, array, allow_pickle=True)
    with pytest.raises(InputError, match="pickled Python objects, which are never loaded"):
        import_arrays(path)


def test_files_that_are_none(tmp_path, save):
    good = save(x=IMAGES).read_bytes()
    cases = {
        "text.npz": b"hello",
        "text.npy": b"hello",
        "empty.npz": b"",
        "empty.npy": b"",
        "cut.npz": good[: len(good) // 2],
        "cut.npy": npy(tmp_path)[:-10],
        "edited.npz": good[:600] + bytes([good[600] ^ 255]) + good[601:],
        "pickle.npy": b"\x80\x04K\x01.",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name) as error:
            import_arrays(tmp_path / name)
        assert "\n" not in str(error.value), name
    with pytest.raises(InputError, match="no such file"):
        import_arrays(tmp_path / "none.npz")
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(InputError, match=r"expected a \.npz or \.npy file"):
        import_arrays(tmp_path / "a.csv")
    np.savez(tmp_path / "nothing.npz")
    with pytest.raises(InputError, match="no array in it"):
        import_arrays(tmp_path / "nothing.npz")


def npy(tmp_path):
    np.save(tmp_path / "whole.npy", IMAGES)
    return (tmp_path / "whole.npy").read_bytes()
