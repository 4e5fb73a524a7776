"""Images to look at: by their weight, at random, resampled, and the nearest real ones beside them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from lfiw.data.splits import Subset
from lfiw.evaluation.figures import Picture
from lfiw.evaluation.plots.images import image_grid, images_a_grid
from lfiw.evaluation.record import EvaluationRecord
from lfiw.evaluation.scored_rows import ScoredRows
from lfiw.evaluation.tables import number
from lfiw.weighting.resampling import sir


def nearest_rows(
    queries: Float[Tensor, "q d"], blocks: Iterable[Float[Tensor, "_ d"]]
) -> tuple[Int64[Tensor, " q"], Float[Tensor, " q"]]:
    """For each query the row at the smallest Euclidean distance, and that distance, in float64; the first one of ties.

    Args:
        blocks: the rows, some at a time and at least one, so that all of them need not be in memory; rows are counted
            through all blocks.
    """
    wanted = queries.double()
    best = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    index = torch.zeros(len(queries), dtype=torch.int64)
    start = 0
    for block in blocks:
        # not by the products' expansion: it loses the digits of small distances
        distances = torch.cdist(wanted, block.double(), compute_mode="donot_use_mm_for_euclid_dist")
        smallest, at = distances.min(dim=1)
        nearer = smallest < best
        best = torch.where(nearer, smallest, best)
        index = torch.where(nearer, at + start, index)
        start += len(block)
    return index, best


POOL = 16  # candidates a resampled image
BLOCK = 4096  # real rows of features in memory at a time


@dataclass(frozen=True)
class Group:
    """Images of one kind.

    Args:
        title: a few words.
        description: what they are, for those who do not see them.
        note: a sentence, if it needs one.
    """

    title: str
    description: str
    images: Shaped[Tensor, "n c h w"]
    note: str = ""


def sample_groups(record: EvaluationRecord, rows: ScoredRows, seed: int) -> list[Group]:
    """Highest and lowest weight, random and resampled generated images; nearest and random real ones.

    Args:
        rows: those that were scored.
        seed: of the random ones.
    """
    real, generated = rows.real, rows.generated
    log_weights = rows.log_weights(record.drawn.weighting)
    relative = torch.softmax(log_weights, 0) * len(log_weights)
    most = images_a_grid(max(real.table.column("image").shape[-2:]))
    order = (log_weights if record.drawn.stratify else rows.log_ratio).argsort(descending=True, stable=True)
    highest, lowest = order[:most], order.flip(0)[:most]
    random = torch.Generator().manual_seed(seed)
    as_made = torch.randperm(len(generated), generator=random)[:most]
    any_real = torch.randperm(len(real), generator=random)[:most]
    resampled = sir(log_weights, most, POOL, random)
    extractor = record.extractors[0]
    nearest, _ = nearest_real(real, generated, highest, f"features/{extractor.key}")

    def of_weight(kind: str, rows: Int64[Tensor, " k"]) -> Group:
        low, high = (number(x.item(), 2) for x in relative[rows].aminmax())
        description = f"generated images of the {kind.lower()}: {low} to {high} times the uniform weight"
        return Group(kind, description, images(generated, rows))

    return [
        of_weight("Highest weight", highest),
        Group(
            "Nearest real",
            f"real images: for each one of the highest weight, in the same place, the nearest by {extractor.name}",
            images(real, nearest),
            f"The real image nearest to each of the highest weight, by the features “{extractor.name}”.",
        ),
        of_weight("Lowest weight", lowest),
        Group("Random", "generated images drawn at random, as the generator makes them", images(generated, as_made)),
        Group(
            "Resampled",
            f"generated images resampled by weight, each out of {POOL} drawn at random",
            images(generated, resampled),
            f"Each image is one of {POOL} drawn at random, chosen by weight.",
        ),
        Group("Real", "real images drawn at random", images(real, any_real)),
    ]


def sample_pictures(groups: list[Group]) -> list[Picture]:
    """A grid of each group."""
    return [
        Picture(group.title, f"{len(group.images)} {group.description}.", image_grid(group.images), group.note)
        for group in groups
    ]


def images(subset: Subset, positions: Int64[Tensor, " k"]) -> Shaped[Tensor, "k c h w"]:
    return subset.read(positions, ["image"])["image"]


def nearest_real(
    real: Subset, generated: Subset, positions: Int64[Tensor, " k"], column: str
) -> tuple[Int64[Tensor, " k"], Float[Tensor, " k"]]:
    """Position of the real row nearest to each of some generated rows, and its distance, in a column of features."""

    def blocks() -> Iterator[Tensor]:
        for part in torch.arange(len(real)).split(BLOCK):
            yield real.read(part, [column])[column]

    return nearest_rows(generated.read(positions, [column])[column], blocks())
