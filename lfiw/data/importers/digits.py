"""The handwritten digits that come with scikit-learn: real data without a download."""

import numpy as np
import sklearn
from sklearn.datasets import load_digits

from lfiw.data.arrays import to_tensor
from lfiw.data.importers.imported import Imported


def import_digits() -> Imported:
    """The 1,797 digits of scikit-learn: `image` uint8 (N, 1, 8, 8), from 0…16 to 0…255, and `label`."""
    digits = load_digits()
    images = to_tensor(np.rint(digits.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = to_tensor(digits.target.astype(np.int64))
    source = {"dataset": "digits", "scikit-learn": sklearn.__version__}
    return Imported(
        source,
        ("digits of scikit-learn, 0…16 scaled to 0…255",),
        len(images),
        lambda start, stop: {"image": images[start:stop], "label": labels[start:stop]},
    )
