"""Classifiers on embedded drawings, against scikit-learn's."""

import torch
from sklearn.neighbors import KNeighborsClassifier
from torch.nn import functional as F

from lfiw.tasks.augmentation.embedding_heads import Points, linear_head, nearest_means


def blobs(each: int, spread: float, seed: int) -> Points:
    source = torch.Generator().manual_seed(seed)
    labels = torch.arange(4).repeat_interleave(each)
    noise = spread * torch.randn(len(labels), 4, generator=source)
    return Points(F.normalize(torch.eye(4)[labels] + noise, dim=1), labels)


def test_nearest_means_are_those_of_normalised_centroids() -> None:
    train, validation, test = blobs(5, 0.5, 0), blobs(9, 0.5, 1), blobs(11, 0.5, 2)
    centroids = torch.stack([train.points[train.labels == label].mean(0) for label in range(4)])
    reference = KNeighborsClassifier(1).fit(F.normalize(centroids, dim=1).numpy(), range(4))
    for found, part in zip(nearest_means(train, validation, test), (validation, test), strict=True):
        assert found.tolist() == (reference.predict(part.points.numpy()) == part.labels.numpy()).tolist()


def test_weights_decide_what_generated_points_of_a_wrong_class_do() -> None:
    """Of four generated points of each class three lie at the next one's place; weights tell which."""
    train, validation, test = blobs(2, 0.6, 0), blobs(20, 0.3, 1), blobs(50, 0.3, 2)
    good, bad = blobs(20, 0.3, 3), blobs(60, 0.3, 4)
    generated = Points(torch.cat([good.points, bad.points]), torch.cat([good.labels, (bad.labels + 1) % 4]))
    weights = torch.cat([torch.full((80,), 4.0), torch.zeros(240)])
    plain = linear_head(train, validation, test, generated)[1].double().mean()
    weighted = linear_head(train, validation, test, generated, weights)[1].double().mean()
    assert weighted > plain + 0.05
    assert weighted > linear_head(train, validation, test)[1].double().mean()
