"""What a network may be given."""

from collections.abc import Sequence

from lfiw.errors import InputError


def image_shape(shape: Sequence[int], net: str) -> tuple[int, int, int]:
    """(channels, height, width) of a sample.

    Raises:
        InputError: the sample is not an image.
    """
    if len(shape) != 3:
        raise InputError(
            f"model={net} needs images (channels, height, width), the samples are {tuple(shape)}; use model=mlp"
        )
    channels, height, width = shape
    return channels, height, width
