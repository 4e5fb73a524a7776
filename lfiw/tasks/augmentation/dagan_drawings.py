"""A trained drawing generator as one safetensors file, and what it makes of real drawings."""

from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from lfiw.data.batches import mix_seeds
from lfiw.data.importers import Imported
from lfiw.errors import InputError
from lfiw.tasks.augmentation.drawing_gan import DrawingGenerator
from lfiw.tasks.augmentation.drawing_sets import PARENT
from lfiw.untrusted import built_for, naming, part_of, read_network, state_sha256

BLOCK_DRAWINGS = 64  # given drawings per block of a cache
ROWS = 32  # made at once: their features fit into a core's cache


def load_generator(path: Path) -> DrawingGenerator:
    """Loads what `save_generator` wrote, or the moving average in a checkpoint of task=dagan (.ckpt).

    Raises:
        InputError: no such file, or it does not hold a generator.
    """
    what, remedy = "a drawing generator", "give a checkpoint of task=dagan, or its generator"
    with naming(path, f"does not hold {what}"):
        about, state = read_network(path, "dagan" if path.suffix == ".ckpt" else "lfiw", what, remedy=remedy)
        return built_for(part_of(state, "average"), lambda: DrawingGenerator(**about["generator"])).eval()


@torch.inference_mode()
def generate(
    generator: DrawingGenerator, images: UInt8[Tensor, "n 1 h w"], num_per_image: int, seed: int, scale: float = 1.0
) -> UInt8[Tensor, "m 1 h w"]:
    """`num_per_image` drawings of each given one, those of one drawing together. The seed alone decides the noise, of
    standard deviation `scale` (1 in training)."""
    source = torch.Generator().manual_seed(seed)
    noise = scale * torch.randn(len(images) * num_per_image, generator.noise, generator=source)
    given = images.repeat_interleave(num_per_image, 0)
    made = [generator(x.float() / 255, z) for x, z in zip(given.split(ROWS), noise.split(ROWS), strict=True)]
    return (255 * torch.cat(made)).round().to(torch.uint8)


def import_generated(
    checkpoint: Path,
    drawings: Path,
    num_per_image: int,
    seed: int,
    rows: Int64[Tensor, " n"] | None = None,
    scale: float = 1.0,
) -> Imported:
    """Drawings of a generator for drawings of a cache: `image`, `label` as given, and `parent`, the row given.

    Args:
        rows: of the given drawings. If None, all.
        scale: standard deviation of the noise.

    Raises:
        InputError: the cache or the checkpoint cannot be read, or the drawings are not of the generator's size.
    """
    from lfiw.data.cache.reader import SampleCache

    if num_per_image < 1:
        raise InputError(f"--num-per-image {num_per_image}: at least 1")
    generator = load_generator(checkpoint)
    table = SampleCache(drawings)
    if absent := {"image", "label"} - set(table.columns):
        raise InputError(f"{drawings} has no {' and no '.join(sorted(absent))}: make it by tools/cache_dataset.py")
    expected = (1, generator.side, generator.side)
    if table.column("image").shape != expected:
        raise InputError(f"{drawings}: images are {table.column('image').shape}, {checkpoint} takes {expected}")
    parents = torch.arange(len(table)) if rows is None else rows
    source = {
        "generator": "dagan",
        "sha256": state_sha256(generator.state_dict()),
        "given": table.identity,
        "num_per_image": num_per_image,
        "seed": seed,
        **({} if scale == 1 else {"scale": scale}),
    }

    given_blocks, block_rows = parents.split(BLOCK_DRAWINGS), BLOCK_DRAWINGS * num_per_image

    @lru_cache(maxsize=1)  # whoever reads fewer rows at a time asks for the same block again
    def made(number: int) -> dict[str, Tensor]:
        rows = given_blocks[number]
        given = table.read(rows, ["image", "label"])
        return {
            "image": generate(generator, given["image"], num_per_image, mix_seeds(seed, number), scale),
            "label": given["label"].repeat_interleave(num_per_image),
            PARENT: rows.repeat_interleave(num_per_image),
        }

    def read(start: int, stop: int) -> dict[str, Tensor]:
        parts = []
        for number in range(start // block_rows, (stop - 1) // block_rows + 1):
            first = number * block_rows
            chosen = slice(max(start - first, 0), stop - first)
            parts.append({name: values[chosen] for name, values in made(number).items()})
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    note = f"{num_per_image} drawings for each of {len(parents):,} by {checkpoint.name}"
    return Imported(source, (note,), len(parents) * num_per_image, read, block_rows)
