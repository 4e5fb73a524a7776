"""Everything that can fill a cache, through the one look-up that the command line uses."""

import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lfiw import InputError
from lfiw.data import CacheWriter, SampleCache, TensorTable
from lfiw.generators import SOURCES, open_generator
from lfiw.generators.generative_module import build_generative
from lfiw.generators.protocol import Generator, KernelDensityGenerator, sample_rows
from lfiw.schemas import VAE, Optimizer

CODE = """
import torch

def unit(num, generator, labels=None):
    x = torch.rand(num, 3, 6, 8, generator=generator)
    if labels is None:
        return x
    return {"image": x * 0 + labels.view(-1, 1, 1, 1) / 10, "label": labels}

def signed(num, generator):
    return torch.rand(num, 6, 8, 3, generator=generator).numpy() * 2 - 1

def byte(num, generator):
    return torch.randint(256, (num, 6, 8), generator=generator, dtype=torch.uint8)

def unclear(num, generator):
    return torch.rand(num, 3, 6, 8, generator=generator) * 100

def wide(num, generator):
    return torch.rand(num, 5, 6, 8, generator=generator)

def later(num, generator):  # signed, but not in its first batch
    later.calls = getattr(later, "calls", 0) + 1
    return torch.rand(num, 3, 6, 8, generator=generator) - float(later.calls > 1)

def overshoots(num, generator):  # a little, but not in its first batch
    overshoots.calls = getattr(overshoots, "calls", 0) + 1
    x = torch.rand(num, 3, 6, 8, generator=generator)
    if overshoots.calls > 1:
        x[0, 0, 0, :2] = torch.tensor([-0.03, 1.04])
    return x

def broken(num, generator):
    broken.calls = getattr(broken, "calls", 0) + 1
    x = torch.rand(num, 3, 6, 8, generator=generator)
    if broken.calls > 2:
        x[7] = torch.nan
    return x

def black_and_white(num, generator):
    return torch.randint(2, (num, 6, 8), generator=generator)

def others(num, generator):
    import numpy as np
    images = np.full((num, 6, 8), 0.5, dtype=">f4")
    return {"image": images, "scores": np.arange(num, dtype=">f8")[::-1], "name": torch.ones(num).bfloat16()}

def sparse(num, generator):
    return torch.zeros(num, 6, 8).to_sparse()

def short(num, generator):
    return torch.rand(num - 1, 3, 6, 8, generator=generator)

def words(num, generator):
    return "images"

table = 3
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path / "mine.py"


def make_images(folder: Path) -> None:
    for number in range(6):
        file = folder / f"{'ab'[number % 2]}/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), 40 * number, dtype=np.uint8)).save(file)


def exported(file: Path, *, fixed: bool = False, labelled: bool = False) -> None:
    class Program(torch.nn.Module):
        def forward(self, noise: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
            images = noise.tanh().view(-1, 1, 2, 3).repeat(1, 3, 4, 4)
            return images if labels is None else images * 0 + labels.view(-1, 1, 1, 1) / 10

    inputs = (torch.randn(4, 6), *((torch.zeros(4, dtype=torch.int64),) if labelled else ()))
    batch = torch.export.Dim("batch", min=1)
    shapes = None if fixed else tuple({0: batch} for _ in inputs)
    torch.export.save(torch.export.export(Program(), inputs, dynamic_shapes=shapes), file)


def seeds(num: int, start: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(start + i) for i in range(num)]


@pytest.mark.parametrize(
    ("name", "told"), [("unit", "in [0, 1]"), ("signed", "in [-1, 1]"), ("byte", "uint8, kept as they are")]
)
def test_ranges_are_detected_and_told(code: Path, name: str, told: str) -> None:
    generator = open_generator("callable", f"{code}:{name}")
    assert isinstance(generator, Generator)
    assert any(told in note for note in generator.notes)
    image = generator.sample(50, torch.Generator().manual_seed(1))["image"]
    assert image.dtype == torch.uint8
    assert image.shape == (50, 1 if name == "byte" else 3, 6, 8)
    assert image.float().mean().item() == pytest.approx(127.5, abs=5)
    assert image.min() < 5
    assert image.max() > 250
    assert generator.source["callable"] == f"{code}:{name}"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("unclear", "give --range"),
        ("wide", "axis can be channels"),
        ("words", "returned str"),
        ("black_and_white", "none above 1: give --range unit if 1 is white"),
        ("sparse", "returned a tensor that NumPy cannot hold"),
        ("table", "has no function 'table'"),
        ("nothing", "has no function 'nothing'"),
    ],
)
def test_callables_that_do_not_do(code: Path, name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        open_generator("callable", f"{code}:{name}")


def test_a_batch_unlike_the_first(code: Path) -> None:
    generator = open_generator("callable", f"{code}:later")
    with pytest.raises(InputError, match=r"batch 1 contradicts .* \[0, 1\] of the first one: .* --range signed"):
        generator.sample(100, torch.Generator())
    with pytest.raises(InputError, match="returned 9 rows of image, asked for 10"):
        open_generator("callable", f"{code}:short").sample(10, torch.Generator())


def test_later_batches_are_held_to_the_first_ones_range(code: Path) -> None:
    generator = open_generator("callable", f"{code}:overshoots")
    assert "up to 5% outside it are clamped" in generator.notes[1]
    assert len(generator.notes) == 3
    first, *others = generator.sample(10, torch.Generator())["image"][0, 0, 0, :2].tolist()
    assert [first, *others] == [0, 255]
    generator.sample(10, torch.Generator())
    assert generator.notes[2] == "4 values in 2 batches were outside the range, clamped"
    generator = open_generator("callable", f"{code}:broken")
    generator.sample(10, torch.Generator())
    with pytest.raises(InputError, match=r"broken: batch 2 contradicts .*row 7 holds NaN"):
        generator.sample(10, torch.Generator())
    generator = open_generator("callable", f"{code}:black_and_white", "--range", "unit")
    assert generator.sample(10, torch.Generator())["image"].unique().tolist() == [0, 255]


def test_other_columns_of_any_byte_order(code: Path) -> None:
    rows = sample_rows(open_generator("callable", f"{code}:others", "--rows-per-seed", "4"), 0, 4, seed=0)
    assert rows["image"].unique().tolist() == [128]
    assert rows["scores"].tolist() == [3, 2, 1, 0]
    assert rows["name"].tolist() == [1] * 4


def test_a_callable_that_fails(tmp_path: Path) -> None:
    """Its own mistake is told with its place; the traceback is for --debug."""
    file = tmp_path / "fails.py"
    file.write_text(
        "def sample(num, generator):\n    raise RuntimeError('out of memory\\nmore')\n\ndef alone(): pass\n"
    )
    with pytest.raises(InputError) as error:
        open_generator("callable", f"{file}:sample")
    assert "ended by RuntimeError: out of memory (" in str(error.value)
    assert f"{file}, line 2; --debug" in str(error.value)
    assert isinstance(error.value.__cause__, RuntimeError)
    with pytest.raises(
        InputError, match=r"TypeError: alone\(\) takes 0 positional arguments .* \(in the call; --debug"
    ):
        open_generator("callable", f"{file}:alone")


def test_names_of_callables(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(code.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    assert open_generator("callable", "mine:unit").source["callable"] == "mine:unit"
    for name, told in (
        ("mine", "expected module:function"),
        ("none:f", "no such module"),
        ("none.py:f", "no such file"),
    ):
        with pytest.raises(InputError, match=told):
            open_generator("callable", name)
    (code.parent / "bad.py").write_text("1 / 0")
    with pytest.raises(InputError, match=r"bad.py: cannot be run \(ZeroDivisionError"):
        open_generator("callable", "bad.py:f")


def test_labels_reach_a_callable(code: Path) -> None:
    generator = open_generator("callable", f"{code}:unit", "--rows-per-seed", "4")
    rows = sample_rows(generator, 3, 9, seed=0, classes=5)
    assert rows["label"].tolist() == [3, 4, 0, 1, 2, 3]
    assert torch.equal(rows["image"][:, 0, 0, 0].float().div(25.5).round().long(), rows["label"])
    with pytest.raises(InputError, match="takes no labels"):
        sample_rows(open_generator("callable", f"{code}:byte"), 0, 1, seed=0, classes=2)


@pytest.mark.parametrize("fixed", [False, True])
def test_exported_programs(tmp_path: Path, fixed: bool) -> None:
    exported(tmp_path / "g.pt2", fixed=fixed)
    generator = open_generator("exported", str(tmp_path / "g.pt2"), "--latents")
    assert any("in [-1, 1]" in note for note in generator.notes)
    drawn = generator.sample_each(seeds(7))
    noise = torch.stack([torch.randn(6, generator=g) for g in seeds(7)])
    expected = ((noise.tanh() + 1) * 127.5).round().to(torch.uint8).view(7, 1, 2, 3).repeat(1, 3, 4, 4)
    assert torch.equal(drawn["image"], expected)
    assert torch.equal(drawn["latent"], noise)
    with pytest.raises(InputError, match="takes no labels"):
        sample_rows(generator, 0, 2, seed=0, classes=2)


def test_an_exported_program_with_labels(tmp_path: Path) -> None:
    exported(tmp_path / "g.pt2", labelled=True)
    generator = open_generator("exported", str(tmp_path / "g.pt2"), "--range", "unit")
    rows = sample_rows(generator, 2, 7, seed=0, classes=4)
    assert rows["label"].tolist() == [2, 3, 0, 1, 2]
    assert rows["image"][:, 0, 0, 0].tolist() == [51, 76, 0, 26, 51]
    with pytest.raises(InputError, match="takes labels: give --classes"):
        sample_rows(generator, 0, 2, seed=0)


def test_what_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_text("no")
    with zipfile.ZipFile(tmp_path / "b.pt2", "w") as archive:
        archive.writestr("a", "b")
    for name, told in (("a", "not a file of torch.export"), ("b", "not a file of torch.export"), ("c", "no such file")):
        with pytest.raises(InputError, match=told):
            open_generator("exported", str(tmp_path / f"{name}.pt2"))


def test_folders_and_archives_hold_the_same(tmp_path: Path) -> None:
    make_images(tmp_path / "images")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for file in sorted((tmp_path / "images").rglob("*.png"), reverse=True):
            archive.write(file, file.relative_to(tmp_path / "images"))
        archive.writestr("__MACOSX/a/0.png", b"")
    folder, packed = (
        open_generator(name, str(tmp_path / file)) for name, file in (("folder", "images"), ("zip", "images.zip"))
    )
    assert folder.num_rows == packed.num_rows == 6
    for generator in (folder, packed):
        rows = sample_rows(generator, 1, 5, seed=0)
        assert rows["image"][:, 0, 0, 0].tolist() == [80, 160, 40, 120]
        assert rows["label"].tolist() == [0, 0, 1, 1]
        assert generator.sample(4, torch.Generator())["image"].shape == (4, 3, 4, 4)
    assert folder.source["sha256"] == packed.source["sha256"]
    with pytest.raises(InputError, match="not a zip archive"):
        open_generator("zip", str(tmp_path / "images/a/0.png"))


def test_one_corrupt_file(tmp_path: Path) -> None:
    make_images(tmp_path / "images")
    whole = (tmp_path / "images/a/2.png").read_bytes()
    (tmp_path / "images/a/2.png").write_bytes(whole[:-30])  # its header is whole
    generator = open_generator("folder", str(tmp_path / "images"))
    with pytest.raises(InputError, match=r"images/a/2.png: cannot be decoded .* --skip-bad"):
        sample_rows(generator, 0, 6, seed=0)
    (tmp_path / "images/b/3.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"images/b/3.png: not an image: .* --skip-bad"):
        open_generator("folder", str(tmp_path / "images"))
    generator = open_generator("folder", str(tmp_path / "images"), "--skip-bad")
    assert "skipped 2 bad files: a/2.png, b/3.png" in generator.notes
    assert sample_rows(generator, 0, 4, seed=0)["image"][:, 0, 0, 0].tolist() == [0, 160, 40, 200]


def test_arrays_and_caches(tmp_path: Path) -> None:
    images = (np.arange(5 * 3 * 6 * 8) % 251).astype(np.uint8).reshape(5, 3, 6, 8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(5))
    generator = open_generator("npz", str(tmp_path / "a.npz"))
    assert torch.equal(sample_rows(generator, 1, 4, seed=0)["image"], torch.from_numpy(images[1:4]))
    with CacheWriter(tmp_path / "cache", source={"generator": "a"}) as writer:
        writer.write(sample_rows(generator, 0, 5, seed=0))
    again = open_generator("cache", str(tmp_path / "cache"))
    assert again.num_rows == 5
    assert sample_rows(again, 3, 5, seed=0)["label"].tolist() == [3, 4]
    assert again.source["identity"] == SampleCache(tmp_path / "cache").identity
    drawn = again.sample(200, torch.Generator().manual_seed(0))["label"]
    assert set(drawn.tolist()) == set(range(5))
    with pytest.raises(InputError, match="there already"):
        sample_rows(again, 0, 1, seed=0, classes=3)


def test_a_trained_generator(tmp_path: Path) -> None:
    module = build_generative(asdict(VAE(latent=3, width=8)), (1, 8, 8), asdict(Optimizer()), 0)
    module.save(tmp_path / "g.safetensors")
    generator = open_generator("trained", str(tmp_path / "g.safetensors"), "--latents")
    drawn = generator.sample_each(seeds(3))
    assert torch.equal(drawn["image"], module.sample_each(seeds(3))["image"])
    assert drawn["latent"].shape == (3, 3)
    assert generator.source["trained"]["name"] == "vae"
    assert len(generator.source["sha256"]) == 64


def test_a_kernel_density_of_images(tmp_path: Path) -> None:
    images = torch.randint(256, (50, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    generator = KernelDensityGenerator(TensorTable({"image": images}), bandwidth=1e-6)
    drawn = generator.sample(40, torch.Generator().manual_seed(0))["image"]
    assert torch.cdist(drawn.flatten(1).double(), images.flatten(1).double()).min(1).values.max() == 0
    with CacheWriter(tmp_path / "real") as writer:
        writer.write({"image": images})
    assert open_generator("kde", str(tmp_path / "real")).sample(3, torch.Generator())["image"].shape == (3, 1, 4, 4)
    with pytest.raises(InputError, match="bandwidth"):
        KernelDensityGenerator(TensorTable({"image": images}), bandwidth=0.0)


def test_a_diffusers_pipeline(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    net = diffusers.UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=10)
    diffusers.DDPMPipeline(unet=net, scheduler=scheduler).save_pretrained(tmp_path / "tiny")
    generator = open_generator("pipeline", str(tmp_path / "tiny"), "--steps", "3")
    image = generator.sample_each(seeds(3))["image"]
    assert image.shape == (3, 3, 8, 8)
    assert image.dtype == torch.uint8
    alone = generator.sample_each(seeds(1, start=2))["image"]
    assert (image[2].int() - alone[0].int()).abs().max() <= 1  # arithmetic differs with the batch in the last bit
    assert (image[0].int() - image[1].int()).abs().max() > 10
    assert any("in [0, 1]" in note for note in generator.notes)
    with pytest.raises(InputError, match="takes no --prompt"):
        open_generator("pipeline", str(tmp_path / "tiny"), "--prompt", "a cat")
    with pytest.raises(InputError, match=r"no model_index\.json"):
        open_generator("pipeline", str(tmp_path))


def test_the_look_up(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no source 'gan' of samples; sources: {', '.join(SOURCES)}"):
        open_generator("gan")
    with pytest.raises(InputError, match=r"source npz: .*unrecognized arguments"):
        open_generator("npz", "a.npz", "--colour", "red")
