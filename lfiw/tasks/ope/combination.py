"""One estimate of a return from several by their predicted errors, its interval, and what the data can tell.

Three sources are combined: an anchored simulation, importance sampling of the episodes step by step, and the behaviour
policy's own return. Each is weighted by the inverse of its predicted squared error, which is best for independent
errors (Cochran, Supplement to the Journal of the Royal Statistical Society 4, 1937). Where the sources differ by more
than these errors, all of them are taken to be larger by one factor (Birge, Physical Review 40, 1932).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, variance
from typing import Any

from lfiw.tasks.ope.estimators import Interval
from lfiw.weighting.diagnostics import half_width

SIMULATION = "simulation"
# the networks' common error is taken to be as large as each one's own, so that their variance counts twice
COMMON = 2.0


@dataclass(frozen=True)
class Source:
    """An estimate and its predicted squared error, in squared units of the return.

    Args:
        extrapolation: what may be wrong besides, where no episode shows it: a squared error that only the interval
            counts, and not the source's weight.
    """

    name: str
    value: float
    squared_error: float
    extrapolation: float = 0.0


@dataclass(frozen=True)
class Episodes:
    """Returns of the behaviour policy's episodes: their number, mean, and standard deviation."""

    num: int
    mean: float
    std: float

    @property
    def squared_error(self) -> float:
        """Of the mean."""
        return self.std**2 / self.num


@dataclass(frozen=True)
class Sampled:
    """Importance sampling of the episodes for one policy.

    Args:
        standard_error: of the bootstrap.
        spread: variance of the estimate, if rewards vary under the policy as they do in the episodes.
        effective: effective number of episodes under weights of whole episodes.
    """

    value: float
    standard_error: float
    spread: float
    effective: float

    @property
    def squared_error(self) -> float:
        """Predicted: of the bootstrap, but at least the spread.

        Few effective episodes are nearly the same in every bootstrap sample, which then tells far too small an error.
        """
        return max(self.standard_error**2, self.spread)

    def source(self, name: str, episodes: Episodes) -> Source:
        """Returns the source. Its error may be twice the predicted one, and that of a mean of so few episodes.

        Episodes that the weights choose may vary more than all do. Where hardly any stays effective, the estimate is
        near the behaviour policy's return whatever the truth: a bias that no variance of its own shows.
        """
        far = 1 - self.effective / episodes.num
        of_few = episodes.std**2 / self.effective
        return Source(name, self.value, self.squared_error, far * max(self.squared_error, of_few))


@dataclass(frozen=True)
class Anchored:
    """Simulated gain over the behaviour policy, v̂_e − v̂_b, of each network of the ensemble."""

    gains: Sequence[float]

    def value(self, episodes: Episodes) -> float:
        """The known return and the mean gain."""
        return episodes.mean + fmean(self.gains)

    def squared_error(self, episodes: Episodes) -> float:
        """Predicted: of the known return and between networks; of a single one, as large as its gain."""
        spread = variance(self.gains) if len(self.gains) > 1 else self.gains[0] ** 2
        return episodes.squared_error + COMMON * spread

    def source(self, episodes: Episodes, drift: float, far: float) -> Source:
        """Returns the source. Beyond the episodes, the whole gain may be wrong.

        Args:
            drift: predicted squared drift; far: share of the episodes that do not stay effective.
        """
        gain = fmean(self.gains)
        return Source(SIMULATION, self.value(episodes), self.squared_error(episodes) + drift, far * gain**2)


@dataclass(frozen=True)
class Drift:
    """How far the model's known error is off for policies whose episodes keep their weight no longer.

    At the behaviour policy the model errs by v̂_b − v_b, which anchoring takes off. That this error stays the same for
    other policies is an assumption. On the path to the evaluation policy it is compared with importance sampling as far
    as that carries, and the squared drift is `share` of the squared error at the start.

    Args:
        share: between 0 and 1.
        squared_error: (v̂_b − v_b)², less what the sampling of v_b explains.
    """

    share: float
    squared_error: float

    def of(self, effective_share: float) -> float:
        """Predicted squared drift for a policy that leaves this share of the episodes effective."""
        return self.share * self.squared_error * (1 - effective_share)


def drift_on_path(episodes: Episodes, simulated: float, path: Sequence[tuple[Anchored, Sampled]]) -> Drift:
    """Compares simulations with importance sampling of policies on the path, and bounds the drift from above.

    Each squared difference, less its predicted variance, estimates the squared drift. They are averaged by precision;
    the mean and one standard error of it, within 0 … 1, is the share.

    Args:
        simulated: the behaviour policy's return in the model, v̂_b.
        path: simulation and importance sampling of policies whose episodes keep some weight. If empty, nothing bounds
            the drift, and the share is 1.
    """
    known = max((simulated - episodes.mean) ** 2 - episodes.squared_error, 0.0)
    compared = []  # squared difference, its predicted variance, and the squared drift if its share were 1
    for anchored, sampled in path:
        whole = known * (1 - sampled.effective / episodes.num)
        if whole > 0:
            predicted = anchored.squared_error(episodes) + sampled.squared_error
            compared.append(((anchored.value(episodes) - sampled.value) ** 2, predicted, whole))
    if not compared:
        return Drift(1.0, known)
    weights = [(whole / predicted) ** 2 for _, predicted, whole in compared]
    total = sum(weights)
    share = sum(w * (squared - v) / whole for w, (squared, v, whole) in zip(weights, compared, strict=True)) / total
    share = max(share, 0.0)
    # the variance of a squared normal variable is 2σ⁴
    error = math.sqrt(
        sum(2 * (w * (v + share * whole) / whole) ** 2 for w, (_, v, whole) in zip(weights, compared, strict=True))
    )
    return Drift(min(1.0, share + error / total), known)


@dataclass(frozen=True)
class Combination:
    """One estimate from all sources.

    Args:
        interval: 95 %; its standard error is the predicted one.
        weights: of the sources; they sum to 1.
        disagreement: factor of all predicted squared errors, at least 1.
        verdict: what the interval tells about the difference between the two policies' returns.
    """

    value: float
    interval: Interval
    sources: list[Source]
    weights: list[float]
    drift: Drift
    disagreement: float
    verdict: str

    def to_json(self) -> dict[str, Any]:
        """What ope.json holds, beside value and interval."""
        sources = [{**asdict(s), "weight": w} for s, w in zip(self.sources, self.weights, strict=True)]
        return {
            "sources": sources,
            "drift": asdict(self.drift),
            "disagreement": self.disagreement,
            "verdict": self.verdict,
        }


def combine(sources: Sequence[Source], episodes: Episodes, drift: Drift) -> Combination:
    """Weights the sources by the inverse of their predicted squared errors.

    All of them rest on the same episodes, whose mean return errs by s²/n: a part of every source's error that no mean
    of them takes away. The weights are those of the rest, and this part is added to the error of the mean. So is,
    in proportion to the squared weights, what extrapolation may add.

    Args:
        drift: that the sources' errors contain.
    """
    shared = episodes.squared_error
    # without a rest a source would take all the weight: returns that never vary have the same error as one another
    rests = [max(source.squared_error - shared, 1e-300) for source in sources]
    precisions = [1 / rest for rest in rests]
    total = sum(precisions)
    weights = [p / total for p in precisions]
    value = sum(w * source.value for w, source in zip(weights, sources, strict=True))
    chi_squared = sum(p * (source.value - value) ** 2 for p, source in zip(precisions, sources, strict=True))
    disagreement = max(1.0, chi_squared / (len(sources) - 1)) if len(sources) > 1 else 1.0
    errors = [rest + source.extrapolation for rest, source in zip(rests, sources, strict=True)]
    error = math.sqrt(disagreement * sum(w**2 * e for w, e in zip(weights, errors, strict=True)) + shared)
    half = half_width(error)
    interval = Interval(value - half, value + half, error)
    return Combination(value, interval, list(sources), weights, drift, disagreement, verdict(value, interval, episodes))


def verdict(value: float, interval: Interval, episodes: Episodes) -> str:
    """Says in words what the interval tells about the difference between the two policies' returns."""
    difference, width = abs(value - episodes.mean), interval.high - interval.low
    if width > difference:
        return (
            f"these data cannot tell: the interval is {width:.3g} wide, and the estimate differs by {difference:.3g} "
            "from the behaviour policy's return"
        )
    ends = sorted(abs(end - episodes.mean) for end in (interval.low, interval.high))
    more = "more" if value > episodes.mean else "less"
    return f"the evaluation policy returns {difference:.3g} {more} ({ends[0]:.3g} … {ends[1]:.3g})"
