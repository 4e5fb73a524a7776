"""PixelCNN++: what a pixel depends on, and pixel by pixel against all at once."""

import pytest
import torch
from torch import Tensor

from lfiw import InputError
from lfiw.generators import logistic_mixture, pixelcnn
from lfiw.generators.pixelcnn_network import PixelCNN

CASES = [((3, 8, 8), 3), ((1, 8, 8), 1), ((3, 4, 8), 2)]


def network(shape: tuple[int, ...], levels: int, dtype: torch.dtype = torch.float64) -> PixelCNN:
    torch.manual_seed(0)
    net = PixelCNN(shape, width=6, blocks=2, levels=levels, mixtures=3, dropout=0.5).to(dtype).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return net


def bytes_like(shape: tuple[int, ...], n: int = 2) -> Tensor:
    return torch.randint(256, (n, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("shape", "levels"), CASES)
def test_a_pixel_depends_on_all_before_it_and_on_no_other(shape: tuple[int, ...], levels: int) -> None:
    net = network(shape, levels)
    _, height, width = shape
    x = logistic_mixture.to_signed(bytes_like(shape, 1), torch.float64)
    with torch.no_grad():
        before = net(x)[0]
        for row, column in [(0, 0), (1, 2), (height - 1, width - 1), (2, width - 1), (height // 2, 0)]:
            changed = x.clone()
            changed[:, :, row, column] += 0.5
            moved = (net(changed)[0] - before).abs().amax(0) > 1e-12
            order = torch.arange(height * width).view(height, width)
            assert not moved[order <= row * width + column].any()
            if column + 1 < width:
                assert moved[row, column + 1]
            if row + 1 < height:
                assert moved[row + 1, column]


@torch.inference_mode()
def one_by_one(net: PixelCNN, images: Tensor) -> Tensor:
    """Returns the parameters of every pixel of given images, in the order of sampling."""
    evaluation = pixelcnn.Evaluation(net, images)
    parameters = []
    for row, column, of_pixel in evaluation.pixels():
        parameters.append(of_pixel)
        evaluation.see(row, column)
    return torch.stack(parameters, dim=2).unflatten(2, images.shape[2:])


@pytest.mark.parametrize(("shape", "levels"), CASES)
def test_teacher_forced_parameters_are_those_of_the_whole_network(shape: tuple[int, ...], levels: int) -> None:
    images = bytes_like(shape)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        net = network(shape, levels, dtype)
        with torch.no_grad():
            expected = net(logistic_mixture.to_signed(images, dtype))
        torch.testing.assert_close(one_by_one(net, images), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("shape", "levels"), CASES)
def test_samples_are_those_of_evaluating_the_whole_network_for_each_pixel(shape: tuple[int, ...], levels: int) -> None:
    net = network(shape, levels)
    channels, height, width = shape
    generator = torch.Generator().manual_seed(2)
    uniforms = torch.rand(2, 3 + channels, height, width, dtype=torch.float64, generator=generator)
    images = torch.zeros(2, *shape, dtype=torch.uint8)
    with torch.no_grad():
        for row in range(height):
            for column in range(width):
                here = (slice(None), slice(None), slice(row, row + 1), slice(column, column + 1))
                parameters = net(logistic_mixture.to_signed(images, torch.float64))
                images[here] = logistic_mixture.sample(parameters[here], uniforms[here], channels)
    assert torch.equal(pixelcnn.sample(net, uniforms), images)
    assert images.float().std() > 10


def test_what_it_cannot_take() -> None:
    options = {"width": 4, "blocks": 1, "mixtures": 1, "dropout": 0.0}
    with pytest.raises(InputError, match="levels=3 halves images 2 times"):
        PixelCNN((1, 6, 8), levels=3, **options)
    with pytest.raises(InputError, match="needs images"):
        PixelCNN((8,), levels=1, **options)


@pytest.mark.slow
def test_cached_sampling_is_twenty_times_faster_than_the_naive_one() -> None:
    """32×32 images; naive = a pass through the whole network for each of 1,024 pixels, of which three are timed."""
    import time

    torch.manual_seed(0)
    net = PixelCNN((3, 32, 32), width=32, blocks=2, levels=2, mixtures=5, dropout=0.0).eval()
    images = torch.zeros(16, 3, 32, 32)
    with torch.inference_mode():
        net(images)
        start = time.process_time()
        for _ in range(3):
            net(images)
        naive = (time.process_time() - start) / 3 * 1024
    start = time.process_time()
    pixelcnn.sample(net, torch.rand(16, 8, 32, 32))
    ratio = naive / (time.process_time() - start)
    print(f"{ratio:.0f} times as fast")
    assert ratio > 20
