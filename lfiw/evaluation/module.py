"""Scores of generated samples under any number of weightings, from one pass over cached features."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from lfiw.data.splits import GENERATED, REAL, REFERENCE
from lfiw.errors import LostScore
from lfiw.metrics import FrechetDistance, InceptionScore, KernelDistance, PrecisionRecall
from lfiw.metrics.class_proportions import ClassProportions
from lfiw.metrics.influence import Contributions, KernelContributions, class_distance
from lfiw.metrics.neighbours import SCORES
from lfiw.metrics.paper import PaperFrechetDistance, PaperInceptionScore, PaperKernelDistance
from lfiw.metrics.weighted_metric import WeightedMetric
from lfiw.training.progress import track_in
from lfiw.weighting.strata import Strata
from lfiw.weighting.weights import Weighting


@dataclass(frozen=True)
class FeatureColumn:
    """Features to score in: the column, its size, what is added to the metrics' names ('' for the main one), and
    whether the ratio's classifiers saw them."""

    name: str
    size: int
    suffix: str = ""
    seen: bool = False

    @property
    def label(self) -> str:
        """The column in a message: without features/, and without the digits of its weights' hash."""
        return re.sub(r"^features/|-[0-9a-f]{8}$", "", self.name)


@dataclass(frozen=True)
class LogitColumn:
    """Class logits, for the Inception Score and class proportions: as `FeatureColumn`."""

    name: str
    size: int
    suffix: str = ""


Scores = dict[str, list[float]]  # metric → one value per weighting
CONVENTIONS = {  # → the classes of FID, KID and IS
    "standard": (FrechetDistance, KernelDistance, InceptionScore),
    "paper": (PaperFrechetDistance, PaperKernelDistance, PaperInceptionScore),
}


class Evaluation(LightningModule):
    """FID, KID, IS, class proportions and neighbourhood scores of the evaluation rows, run by `trainer.test`.

    A batch holds feature and logit columns, `side` (real, generated, reference) and `position`. After the test,
    `scores` has a value for each weighting, `reference` the scores of other real rows taken for generated ones,
    `contributions` what each row adds to the KID's error (standard definitions only; for the further weights' too),
    `lost` says why a score is nan: its digits were lost.
    `proportions` the share of each class under each weighting, and `real_proportions` that among the real rows.

    Args:
        weights: of the generated evaluation rows in order, one column per weighting; under the paper's convention on
            the scale that `paper_weights` gives.
        features: columns for FID and KID.
        logits: columns for IS; the last one also for class proportions.
        with_reference: the batches hold reference rows.
        convention: "standard", or "paper" for the definitions of the paper's official code: metrics `fid_paper`, …
        neighbours: k of precision, recall, density and coverage; 0: not scored.
        further: more columns of weights, only for the KID, whose kernel values serve all of them.
        pairs: side → which of its rows KID and the neighbourhood scores compare, pair by pair; a side left out: all.
    """

    def __init__(
        self,
        weights: Float[Tensor, "n k"],
        features: Sequence[FeatureColumn],
        logits: Sequence[LogitColumn] = (),
        *,
        with_reference: bool = False,
        convention: str = "standard",
        neighbours: int = 0,
        further: Float[Tensor, "n j"] | None = None,
        pairs: Mapping[int, Bool[Tensor, " _"]] | None = None,
    ) -> None:
        super().__init__()
        self.kinds = ("fid", "kid", "neighbours") if neighbours else ("fid", "kid")
        self.features, self.logits, self.with_reference = list(features), list(logits), with_reference
        self.suffix = "_paper" if convention == "paper" else ""
        self.weights = weights
        self.kid_weights = weights if further is None else torch.cat([weights, further], dim=1)
        self.pairs = dict(pairs or {})
        k = weights.shape[1]
        fid, kid, inception = CONVENTIONS[convention]
        self.scored, self.referenced = nn.ModuleDict(), nn.ModuleDict()
        for metrics, num_weightings in ((self.scored, k), (self.referenced, 1)):
            for i, column in enumerate(self.features):
                metrics[f"fid {i}"] = fid(column.size, num_weightings)
                metrics[f"kid {i}"] = kid(column.size, num_weightings)
                if neighbours:
                    metrics[f"neighbours {i}"] = PrecisionRecall(column.size, num_weightings, neighbours)
            for i, classes in enumerate(self.logits):
                metrics[f"is {i}"] = inception(classes.size, num_weightings)
        if convention == "standard":
            for i, column in enumerate(self.features):
                self.scored[f"kid {i}"] = KernelContributions(column.size, self.kid_weights.shape[1])
        if self.logits:
            self.class_shares = ClassProportions(self.logits[-1].size, k)
            self.real_class_shares = ClassProportions(self.logits[-1].size)
            self.reference_class_shares = ClassProportions(self.logits[-1].size)
        self.scores: Scores = {}
        self.reference: Scores = {}
        self.contributions: dict[str, Contributions] = {}
        self.lost: dict[str, str] = {}
        self.proportions: list[list[float]] = []
        self.real_proportions: list[float] = []

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        rows = {side: batch["side"] == side for side in (REAL, GENERATED, REFERENCE)}
        compared = {side: mask & self._is_compared(side, batch["position"]) for side, mask in rows.items()}
        for i, column in enumerate(self.features):
            for kind in self.kinds:
                chosen = rows if kind == "fid" else compared
                self._update(f"{kind} {i}", batch[column.name], chosen, batch["position"])
        weights = self._at(batch["position"][rows[GENERATED]], self.weights)
        for i, classes in enumerate(self.logits):
            probabilities = torch.softmax(batch[classes.name].double(), dim=1)
            if len(weights):
                metric_of(self.scored, f"is {i}").update(probabilities[rows[GENERATED]], weights=weights)
            if rows[REFERENCE].any():
                metric_of(self.referenced, f"is {i}").update(probabilities[rows[REFERENCE]])
        if self.logits:
            likeliest = batch[self.logits[-1].name].argmax(dim=1)
            self.class_shares.update(likeliest[rows[GENERATED]], weights)
            self.real_class_shares.update(likeliest[rows[REAL]])
            self.reference_class_shares.update(likeliest[rows[REFERENCE]])

    def _update(self, name: str, features: Tensor, rows: Mapping[int, Tensor], position: Tensor) -> None:
        values = {side: features[mask] for side, mask in rows.items()}
        scored, referenced = metric_of(self.scored, name), metric_of(self.referenced, name)
        if len(values[REAL]):
            scored.update(values[REAL], real=True)
            referenced.update(values[REAL], real=True)
        if len(values[GENERATED]):
            weights = self.kid_weights if name.startswith("kid") else self.weights
            scored.update(values[GENERATED], real=False, weights=self._at(position[rows[GENERATED]], weights))
        if len(values[REFERENCE]):
            referenced.update(values[REFERENCE], real=False)

    def _at(self, position: Tensor, weights: Float[Tensor, "n k"]) -> Float[Tensor, "_ k"]:
        return weights[position.cpu()].to(self.device)

    def _is_compared(self, side: int, position: Tensor) -> Tensor:
        """Of positions in any side's rows: those that this side compares; what it says of the others is not used."""
        mask = self.pairs.get(side)
        if mask is None:
            return torch.ones_like(position, dtype=torch.bool)
        return mask[position.cpu().clamp(max=len(mask) - 1)].to(position.device)

    def on_test_epoch_end(self) -> None:
        # every process computes the same from all rows: no further reduction
        self.scores = self._compute(self.scored, "scores")
        if self.with_reference:
            self.reference = self._compute(self.referenced, "scores of the reference")
        if self.logits:
            self.proportions = self.class_shares.compute().tolist()
            real = self.real_class_shares.compute()[0]
            self.real_proportions = real.tolist()
            if not self.suffix:
                name = f"class_distance{self.logits[-1].suffix}"
                self.scores[name] = class_distance(real, self.class_shares.compute()).tolist()
                if self.with_reference:
                    self.reference[name] = class_distance(real, self.reference_class_shares.compute()).tolist()

    def _compute(self, metrics: nn.ModuleDict, description: str) -> Scores:
        scores, k = {}, self.weights.shape[1]
        for name in track_in(self.trainer, list(metrics), description):
            kind, i = name.split()
            column = (self.logits if kind == "is" else self.features)[int(i)]
            metric = metric_of(metrics, name)
            try:
                found = metric.compute()
                if isinstance(metric, KernelContributions):
                    found = self._kept(f"kid{column.suffix}", found).score
            except LostScore as error:
                nan = torch.full((metric.num_weightings,), torch.nan)
                names_of = SCORES if kind == "neighbours" else (kind,)
                found = dict.fromkeys(names_of, nan)
                self.lost |= {f"{score}{self.suffix}{column.suffix}": str(error) for score in names_of}
            for score, values in found.items() if isinstance(found, dict) else ((kind, found),):
                scores[f"{score}{self.suffix}{column.suffix}"] = values.reshape(-1)[:k].tolist()
        return scores

    def _kept(self, name: str, found: dict[str, Tensor]) -> Contributions:
        """Keeps a KID's contributions for its intervals."""
        of = {field: values.cpu() for field, values in found.items()}
        self.contributions[name] = Contributions(of["score"].reshape(-1), of["generated"], of["real"])
        return self.contributions[name]


def metric_of(metrics: nn.ModuleDict, name: str) -> WeightedMetric:
    metric = metrics[name]
    assert isinstance(metric, WeightedMetric)
    return metric


def paper_weights(weighting: Weighting, log_ratio: Float[Tensor, " n"], strata: Strata | None) -> Float[Tensor, " n"]:
    """Weights on the scale of the official code: flattened and clipped ones are ŵ/N, the others self-normalised."""
    if weighting == Weighting() or weighting.smooth or weighting.stratify or weighting.is_uniform:
        return weighting(log_ratio, strata)
    return Weighting(weighting.flatten, weighting.clip, normalize=False)(log_ratio) / log_ratio.numel()
