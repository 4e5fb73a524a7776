"""Data sets by name. Without a network: files in the format of MNIST, and what comes with scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lfiw import InputError
from lfiw.data.importers.datasets import OPEN, import_dataset, import_digits


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


def mnist(root, rows):
    """Writes small files where torchvision looks for MNIST → images, labels of the training split."""
    random = np.random.default_rng(0)
    for split in ("t10k", "train"):
        images = random.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
        labels = random.integers(0, 10, rows, dtype=np.uint8)
        write_idx(root / f"MNIST/raw/{split}-images-idx3-ubyte", images)
        write_idx(root / f"MNIST/raw/{split}-labels-idx1-ubyte", labels)
    return images, labels


def test_torchvision_images_and_labels(tmp_path):
    images, labels = mnist(tmp_path, 5000)  # more than one block
    imported = import_dataset("mnist", "train", tmp_path)
    blocks = list(imported.blocks())
    assert len(blocks) == 2
    np.testing.assert_array_equal(torch.cat([block["image"] for block in blocks]).squeeze(1).numpy(), images)
    np.testing.assert_array_equal(torch.cat([block["label"] for block in blocks]).numpy(), labels)
    assert imported.source["dataset"] == "mnist"
    assert imported.source["split"] == "train"


@pytest.mark.parametrize("name", OPEN)
def test_missing_data_and_no_network(tmp_path, name, monkeypatch):
    def offline(*arguments, **options):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(InputError, match=f"{name} is not in .* and cannot be downloaded .*--root") as error:
        import_dataset(name, "test", tmp_path)
    assert "\n" not in str(error.value)


def test_digits():
    (block,) = import_digits().blocks()
    digits = load_digits()
    assert block["image"].shape == (1797, 1, 8, 8)
    assert block["image"].dtype == torch.uint8
    assert (block["image"].min(), block["image"].max()) == (0, 255)
    np.testing.assert_array_equal(
        block["image"][:, 0].numpy(), [[[round(v * 255 / 16) for v in r] for r in i] for i in digits.images]
    )
    assert block["label"].tolist() == digits.target.tolist()
