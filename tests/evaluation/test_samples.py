"""Which images a report shows."""

import numpy as np
import pytest
import torch
from records import RECORD, read

from lfiw.data.table import TensorTable
from lfiw.evaluation.record import EvaluationRecord
from lfiw.evaluation.samples import Group, sample_groups, sample_pictures
from lfiw.evaluation.scored_rows import ScoredRows
from lfiw.ratio.mixed import MixedDataModule

TITLES = ["Highest weight", "Nearest real", "Lowest weight", "Random", "Resampled", "Real"]


def table(n: int, seed: int) -> TensorTable:
    images = torch.randint(256, (n, 1, 4, 4), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    return TensorTable({"image": images, "features/pixels": images.flatten(1).float() / 255})


@pytest.fixture(scope="module")
def datamodule() -> MixedDataModule:
    made = MixedDataModule(table(400, 0), table(500, 1))
    made.setup()
    return made


def record(flatten: float) -> EvaluationRecord:
    uniform, auto = RECORD["weightings"][:2]
    weightings = [uniform, {**auto, "name": "auto", "flatten": flatten}]
    extractors = [{"name": "pixels", "key": "pixels"}]
    return read({**RECORD, "weightings": weightings, "recommended": "auto", "extractors": extractors})


@pytest.fixture(scope="module")
def log_ratio(datamodule: MixedDataModule) -> torch.Tensor:
    n = len(datamodule.splits["evaluation"][1])
    return torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def groups(
    datamodule: MixedDataModule, log_ratio: torch.Tensor, flatten: float = 1.0, seed: int = 0
) -> dict[str, Group]:
    found = sample_groups(record(flatten), ScoredRows(*datamodule.splits["evaluation"], log_ratio), seed)
    assert [group.title for group in found] == TITLES
    return {group.title: group for group in found}


def test_by_weight(datamodule: MixedDataModule, log_ratio: torch.Tensor) -> None:
    found = groups(datamodule, log_ratio)
    images = datamodule.splits["evaluation"][1].column("image").numpy()
    order = np.argsort(-log_ratio.numpy())
    np.testing.assert_array_equal(found["Highest weight"].images.numpy(), images[order[:64]])
    np.testing.assert_array_equal(found["Lowest weight"].images.numpy(), images[order[::-1][:64]])
    relative = np.exp(log_ratio.numpy()) / np.exp(log_ratio.numpy()).mean()
    low, high = (float(x) for x in (relative[order[63]], relative[order[0]]))
    assert f"{low:.2g} to {high:.2g} times the uniform weight" in found["Highest weight"].description


def test_the_nearest_real_image(datamodule: MixedDataModule, log_ratio: torch.Tensor) -> None:
    found = groups(datamodule, log_ratio)
    real = datamodule.splits["evaluation"][0].column("image").float()
    for image, neighbour in zip(found["Highest weight"].images, found["Nearest real"].images, strict=True):
        distances = [(image.float() - candidate).square().sum().item() for candidate in real]
        assert (image.float() - neighbour.float()).square().sum().item() == min(distances)


def test_random_ones_are_of_their_side_and_seed(datamodule: MixedDataModule, log_ratio: torch.Tensor) -> None:
    first, again, other = (groups(datamodule, log_ratio, seed=seed) for seed in (0, 0, 1))
    for title, side in (("Random", 1), ("Real", 0), ("Resampled", 1)):
        assert first[title].images.equal(again[title].images)
        assert not first[title].images.equal(other[title].images)
        kept = {image.numpy().tobytes() for image in datamodule.splits["evaluation"][side].column("image")}
        assert all(image.numpy().tobytes() in kept for image in first[title].images)


def test_resampling_follows_the_weights(datamodule: MixedDataModule, log_ratio: torch.Tensor) -> None:
    """Weights that one row holds alone: every draw whose pool of 16 has it is that row, 1 − (1 − 1/n)^16 of them."""
    alone = torch.zeros_like(log_ratio)
    alone[7] = 500.0
    image = datamodule.splits["evaluation"][1].column("image")[7]
    n = len(log_ratio)
    draws = [
        drawn.equal(image) for seed in range(30) for drawn in groups(datamodule, alone, seed=seed)["Resampled"].images
    ]
    share, expected = np.mean(draws), 1 - (1 - 1 / n) ** 16
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / len(draws))


def test_pictures_say_what_is_seen(datamodule: MixedDataModule, log_ratio: torch.Tensor) -> None:
    pictures = sample_pictures(list(groups(datamodule, log_ratio).values()))
    assert [picture.title for picture in pictures] == TITLES
    assert pictures[0].alt.startswith("64 generated images of the highest weight: ")
    assert all(picture.is_grid for picture in pictures)
