"""Base of all generators that are trained here: how they sample, and how they are saved."""

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torchmetrics import Metric

from lfiw.data.batches import mix_seeds
from lfiw.data.table import to_device
from lfiw.errors import InputError, first_line
from lfiw.files import write_atomically
from lfiw.generators.protocol import EachFromItsOwn
from lfiw.schemas import MODELS, check_values
from lfiw.training.trained_module import TrainedModule, build_optimizer, build_schedule
from lfiw.untrusted import built_for, naming, network_file, part_of, read_network, state_sha256

KIND = "lfiw.GenerativeModule"  # distinguishes its checkpoints from those of other modules
HOMES = {"sngan": "gan.GAN", "pixelcnn": "pixelcnn.PixelCNNModule", "vae": "vae.VAEModule"}  # model.name → class
WEIGHTS = "generator.safetensors"  # in a run folder: only the network that samples


class GenerativeModule(TrainedModule):
    """A generator of images (c, h, w) and its training.

    Sampling is a deterministic function, `decode`, of noise that `draw_noise` draws per sample on the CPU: a sample
    depends on its own seed, not on its batch.

    Attributes:
        monitor: validation metric to minimise. If None, the last epoch is saved.
        sampler: name of the attribute with the network that samples.
        shape: an image's.
        net_options: name and options of the networks, as in `lfiw.schemas`.

    Args:
        net: as `net_options`.
        optimizer: as `lfiw.schemas.Optimizer`.
        shape: an image's.
        seed: that of the initial weights and of the noise in training.
    """

    monitor: ClassVar[str | None]
    sampler: ClassVar[str]

    def __init__(
        self, net: Mapping[str, Any], shape: Sequence[int], optimizer: Mapping[str, Any] | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.net_options, self.shape, self.seed = dict(net), tuple(shape), seed
        self.optimizer_options = {"lr": 1e-3, "weight_decay": 0.0, "schedule": "constant", **(optimizer or {})}
        options = {name: value for name, value in self.net_options.items() if name != "name"}
        with torch.random.fork_rng(devices=[]):  # the same weights, whatever drew random numbers before
            torch.manual_seed(seed)
            try:
                check_values(options, MODELS[net["name"]], "model.")
                self.build(**options)
            except InputError:
                raise
            except (TypeError, ValueError, RuntimeError) as error:  # raised by torch's layers for wrong arguments
                raise InputError(f"model={self.net_options.get('name')}: {first_line(error)}") from None
        self.to(memory_format=torch.channels_last)
        if self.optimizer_options.get("compile"):
            for child in self.children():
                if not isinstance(child, Metric):
                    child.compile()

    def build(self, *_: Any, **options: Any) -> None:
        """Makes the networks from the model's options other than its name."""
        raise NotImplementedError

    def draw_noise(self, generator: torch.Generator) -> Float[Tensor, "..."]:
        """Draws the noise of one sample, on the CPU."""
        raise NotImplementedError

    def noise_from_normal(self, normal: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Maps standard normal numbers, as many as the noise has, to what `draw_noise` draws."""
        return normal

    def decode(self, noise: Float[Tensor, "n ..."]) -> UInt8[Tensor, "n c h w"]:
        """Makes images, in evaluation mode; they depend on the noise alone."""
        raise NotImplementedError

    def sample(
        self, num: int, generator: torch.Generator, labels: Int64[Tensor, " num"] | None = None
    ) -> dict[str, Tensor]:
        """Draws `image`, uint8 (num, c, h, w), and `latent`, the noise that they were made from.

        Raises:
            InputError: labels are given.
        """
        return self.sample_each([generator] * num, labels)

    def sample_each(
        self, generators: Sequence[torch.Generator], labels: Int64[Tensor, " n"] | None = None
    ) -> dict[str, Tensor]:
        """As `sample`, but each sample has its own generator."""
        if labels is not None:
            raise InputError(f"model={self.net_options['name']} was trained without labels: leave them out")
        noise = torch.stack([self.draw_noise(generator) for generator in generators])
        return {"image": self.images_of(noise), "latent": noise}

    @torch.inference_mode()
    def images_of(self, noise: Float[Tensor, "n ..."]) -> UInt8[Tensor, "n c h w"]:
        """Makes images of noise, wherever the network is; they come to the CPU."""
        was_training = self.training
        self.eval()
        images = self.decode(self._sent(noise)).cpu()
        self.train(was_training)
        return images

    def training_noise(self, num: int, batch_idx: int, stream: int) -> Float[Tensor, "num latent"]:
        """Draws the noise of this process's rows in a training step, determined by (seed, epoch, step) and the row.

        Args:
            stream: distinguishes several draws in one step.
        """
        seed = mix_seeds(self.seed, self.current_epoch, batch_idx, stream)
        world_size = self.trainer.world_size
        noise = torch.randn(num * world_size, self.net_options["latent"], generator=torch.Generator().manual_seed(seed))
        return self._sent(noise[self.global_rank :: world_size])  # as the rows of a batch are distributed

    def validation_noise(self, positions: Int64[Tensor, " n"]) -> Float[Tensor, "n latent"]:
        """Draws the noise of validation rows: the same in every epoch, in whatever batch and process a row is."""
        generator = torch.Generator()
        rows = [
            torch.randn(self.net_options["latent"], generator=generator.manual_seed(mix_seeds(self.seed, row)))
            for row in positions.tolist()
        ]
        return self._sent(torch.stack(rows))

    def _sent(self, noise: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The noise where the network is, in its dtype: not every device has float64."""
        return to_device(noise.to(self.dtype), self.device)

    def build_optimizer(self, network: nn.Module, steps: int | None = None) -> Any:
        """Builds optimizer and schedule of one network, for `steps` steps or as many as there are batches."""
        trained = [p for p in network.parameters() if p.requires_grad]
        # Lightning clips no fused optimizer in mixed precision
        fused = self.device.type == "cuda" and not self.trainer.gradient_clip_val
        optimizer = build_optimizer(trained, self.optimizer_options, fused=fused)
        steps = int(self.trainer.estimated_stepping_batches) if steps is None else steps
        schedule = build_schedule(optimizer, self.optimizer_options["schedule"], steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def description(self) -> dict[str, Any]:
        """Returns what `load` needs to build the module."""
        options = {name: value for name, value in self.net_options.items() if name != "features"}
        return {"kind": KIND, "net": options, "shape": list(self.shape)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["generator"] = self.description()

    def save(self, path: str | os.PathLike[str], dtype: torch.dtype = torch.float32) -> None:
        """Saves only the network that samples, as safetensors.

        Raises:
            InputError: the file cannot be written.
        """
        state = self.get_submodule(self.sampler).state_dict()
        tensors = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
        write_atomically(path, network_file("generator", self.description(), tensors))

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: str | torch.device = "cpu") -> "GenerativeModule":
        """Loads a trained generator, in evaluation mode.

        Args:
            path: a run folder (its best checkpoint, otherwise its last), a checkpoint, or a file that `save` wrote. No
                code in the file is run.

        Raises:
            InputError: there is no such file, or it does not hold a generator of this class.
        """
        file = checkpoint_of(Path(path))
        with naming(file, "does not hold a whole generator"):
            remedy = f"give a run folder, a checkpoint of task=generator or a {WEIGHTS}"
            description, state = read_network(file, "generator", "a generator", KIND, remedy=remedy)
            home = find_class(description["net"]["name"])
            if not issubclass(home, cls):
                raise InputError(f"{file} holds a {description['net']['name']}, not a {cls.__name__}")
            # half precision only saves space in the file: the network computes in float32
            own = part_of(state, home.sampler)
            module = built_for(own, lambda: home(description["net"], description["shape"]), home.sampler)
        return module.to(device).eval()


def build_generative(
    net: Mapping[str, Any], shape: Sequence[int], optimizer: Mapping[str, Any], seed: int
) -> GenerativeModule:
    """Builds the generator that `net["name"]` names.

    Raises:
        InputError: there is no such generator, or it does not take these images or options.
    """
    return find_class(net["name"])(net, shape, optimizer, seed)


def find_class(name: str) -> type[GenerativeModule]:
    if name not in HOMES:
        raise InputError(f"no generator {name!r} to train; generators: {', '.join(HOMES)}")
    module, _, attribute = HOMES[name].partition(".")
    generator_class: type[GenerativeModule] = getattr(import_module(f"lfiw.generators.{module}"), attribute)
    return generator_class


def checkpoint_of(path: Path) -> Path:
    """Finds a run folder's checkpoint; returns a file as it is."""
    if not path.is_dir():
        return path
    best, last = (path / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    return best if best.exists() or not last.exists() else last


class TrainedGenerator(EachFromItsOwn):
    """The generator of a run, a checkpoint or a saved network.

    Args:
        path: as `GenerativeModule.load` takes it.
        latents: also return the noise, as the column `latent`.
    """

    def __init__(self, path: Path, *, latents: bool = False, device: str = "cpu") -> None:
        self.module = GenerativeModule.load(path, device)
        self.latents = latents
        state = self.module.get_submodule(self.module.sampler).state_dict()
        net = {key: value for key, value in self.module.net_options.items() if key != "features"}
        self.source: dict[str, Any] = {"trained": net, "sha256": state_sha256(state)}
        self.notes: tuple[str, ...] = (f"{net['name']}, images {self.module.shape} as uint8",)

    def sample_each(
        self, generators: Sequence[torch.Generator], labels: Int64[Tensor, " n"] | None = None
    ) -> dict[str, Tensor]:
        samples = self.module.sample_each(generators, labels)
        return samples if self.latents else {"image": samples["image"]}
