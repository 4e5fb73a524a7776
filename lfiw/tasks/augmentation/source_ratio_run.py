"""task=source_ratio: trains an embedding on some source characters, and a ratio of drawings on others."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from lfiw.data import SampleCache
from lfiw.data.table import Table
from lfiw.errors import InputError
from lfiw.evaluation.figures import is_real
from lfiw.evaluation.tables import number, print_table
from lfiw.metrics.class_proportions import RatioScores
from lfiw.schemas import Config, SourceData
from lfiw.tasks.augmentation.character_embedding import CharacterEmbedding, Embedding, SourceDrawings
from lfiw.tasks.augmentation.drawing_sets import PARENT, rows_of_classes
from lfiw.tasks.augmentation.likeness import Episodes
from lfiw.tasks.augmentation.omniglot import check_columns, check_parents, children_of
from lfiw.tasks.augmentation.source_ratio import HeldOut, SourceRatio, draw_sides, fit_coefficients
from lfiw.training.trainer import CHECKPOINTS, build_trainer, fit, last_checkpoint
from lfiw.weighting.diagnostics import effective_sample_size, kl_gain

RATIO = "ratio.safetensors"
Outcome = tuple[dict[str, float], dict[str, Any]]


def run(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> Outcome:
    """Trains; writes ratio.safetensors, which data.ratio of task=augmentation takes.

    Returns:
        What the ratio says of held-out characters, and the ratio.

    Raises:
        InputError: data of another kind, caches that do not go together, or characters that are too few.
    """
    if not isinstance(config.data, SourceData):
        raise InputError(f"task=source_ratio needs data=source, not {config.data.name}")
    real, generated = SampleCache(config.data.real), SampleCache(config.data.generated)
    check_columns(real, ("image", "label"), "data.real", "tools/cache_dataset.py omniglot")
    check_columns(generated, ("image", "label", PARENT), "data.generated", "tools/cache_samples.py dagan")
    check_parents(real, generated)
    parts = split_characters(real["label"], config.data, config.task.num_classes)
    if config.task.embedding is None:
        embedding, options = train_embedding(config, run_dir, loggers, real, parts["embedding"], parts["held_out"])
    else:
        other = SourceRatio.load(Path(config.task.embedding))
        embedding, options = other.embedding, other.options
    source = torch.Generator().manual_seed(config.seed)
    sides = []
    for part, number_drawn in (("ratio", config.task.episodes), ("held_out", config.task.held_out_episodes)):
        episodes = Episodes(
            *embedded(embedding, real, generated, parts[part]), config.task.num_classes, config.task.shots
        )
        sides.append(draw_sides(episodes, number_drawn, source))
    coefficients, held_out = fit_coefficients(sides[0], sides[1])
    ratio = SourceRatio(embedding, options, coefficients, config.task.shots, scores_of(held_out))
    rank_zero_only(ratio.save)(run_dir / RATIO)
    title = "ratio on characters that neither the generator nor the embedding saw"
    rank_zero_only(print_table)(title, list(ratio.held_out), [[number(value) for value in ratio.held_out.values()]])
    print(f"{run_dir / RATIO}: for data.ratio of experiment=omniglot")
    return ratio.held_out, {"ratio": ratio, "run_dir": run_dir}


def evaluate(config: Config, run_dir: Path, loggers: Sequence[Logger]) -> Outcome:
    """Shows what the run found.

    Raises:
        InputError: the run did not finish.
    """
    ratio = SourceRatio.load(run_dir / RATIO)
    print_table("ratio on held-out characters", list(ratio.held_out), [[number(v) for v in ratio.held_out.values()]])
    return ratio.held_out, {"ratio": ratio}


def split_characters(labels: Int64[Tensor, " n"], data: SourceData, num_classes: int) -> dict[str, Int64[Tensor, " _"]]:
    """The characters that train the embedding, those that train the ratio, and those that calibrate and judge it.

    The latter are the table's last ones, which a generator of task=dagan did not see either.

    Raises:
        InputError: a part has too few characters for an episode.
    """
    classes = torch.tensor(list(rows_of_classes(labels)))
    seen, held_out = classes[: -data.validation_classes], classes[-data.validation_classes :]
    order = seen[torch.randperm(len(seen), generator=torch.Generator().manual_seed(data.split_seed))]
    parts = {"embedding": order[: data.embedding_classes], "ratio": order[data.embedding_classes :]}
    parts["held_out"] = held_out
    for name, chosen in parts.items():
        if len(chosen) < num_classes:
            raise InputError(
                f"task.num_classes={num_classes}: {len(chosen)} of {len(classes)} characters are left for the part "
                f"{name!r}; change data.embedding_classes or data.validation_classes"
            )
    return parts


def train_embedding(
    config: Config,
    run_dir: Path,
    loggers: Sequence[Logger],
    real: Table,
    classes: Int64[Tensor, " k"],
    validation: Int64[Tensor, " v"],
) -> tuple[Embedding, dict[str, Any]]:
    """The embedding and its options."""
    data = SourceDrawings(
        real, classes, validation, batch_size=config.data.batch_size, augment=config.data.augment, seed=config.seed
    )
    shape = real.column("image").shape
    options = {"shape": shape, "width": config.task.width, "features": config.task.features}
    module = CharacterEmbedding(
        **options,
        num_classes=len(classes),
        mean=data.mean,
        std=data.std,
        optimizer=asdict(config.optimizer),
        seed=config.seed,
    )
    trainer = build_trainer(config.trainer, run_dir, loggers, monitor=None)
    fit(trainer, module, data, last_checkpoint(run_dir / CHECKPOINTS, config.resume))
    return module.embedding.float().eval(), options


def embedded(
    embedding: Embedding, real: Table, generated: Table, classes: Int64[Tensor, " k"]
) -> tuple[Float[Tensor, "classes drawings d"], Float[Tensor, "classes drawings each d"]]:
    """Embeds the drawings of some characters, class by class, and what was generated from each of them.

    Raises:
        InputError: characters with different numbers of drawings, or drawings with different numbers of generated ones.
    """
    found = rows_of_classes(real["label"])
    of_classes = [found[label] for label in classes.tolist()]
    rows = torch.cat(of_classes)
    children, place = children_of(generated[PARENT], rows)
    counts = place.bincount(minlength=len(rows))
    if len({len(chosen) for chosen in of_classes}) > 1 or (counts != counts[0]).any():
        raise InputError("a ratio of source characters needs as many drawings of each, and as many made from each")
    children = children[place.argsort(stable=True)]
    known = embedding.points(real.read(rows, ["image"])["image"]).unflatten(0, (len(classes), -1))
    made = embedding.points(generated.read(children, ["image"])["image"])
    return known, made.unflatten(0, (len(classes), known.shape[1], -1))


def scores_of(held_out: HeldOut) -> dict[str, float]:
    """How well the ratio tells real from generated drawings, what its weights are worth, and what they do."""
    sides = held_out.real, held_out.generated
    scores = RatioScores()
    scores.update(torch.cat(sides), is_real(sides))
    gain, error = kl_gain(*sides)
    ess = effective_sample_size(torch.softmax(held_out.generated, 0)).item() / len(held_out.generated)
    found = {name: value.item() for name, value in scores.compute().items()}
    return {**found, "kl_gain": gain.item(), "kl_gain_se": error.item(), "ess_share": ess, **held_out.shares()}
