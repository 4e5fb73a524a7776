"""Which weightings are scored, and their weights of the scored rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lfiw.errors import InputError
from lfiw.evaluation.module import paper_weights
from lfiw.evaluation.record import EXACT
from lfiw.evaluation.scored_rows import ScoredRows
from lfiw.metrics.weighted_metric import carried_by_one_row
from lfiw.weighting.gate import AUTO, CANNOT, UNIFORM, Choice, in_words
from lfiw.weighting.weights import Weighting


@dataclass(frozen=True)
class ScoredWeightings:
    """The weightings that have scores.

    Args:
        rows: without exact log-ratios, if one row carries all of their weight.
        named: name → weighting, the uniform one first.
        weights: of the generated rows, one column each; those that the data set knows to be exact in the last one.
        choice: of the gate.
        left_out: names of those without scores, since one row carries all of their weight.
    """

    rows: ScoredRows
    named: dict[str, Weighting]
    weights: Float[Tensor, "n k"]
    choice: Choice
    left_out: list[str]

    @classmethod
    def of(
        cls, rows: ScoredRows, specs: Sequence[Any], choice: Choice, compared: Bool[Tensor, " n"], recommended: str
    ) -> "ScoredWeightings":
        """Weighs the rows; a choice whose weight one row carries is taken back.

        Args:
            specs: of the weightings beside the uniform one and `auto`.
            compared: which generated rows the KID compares.
            recommended: name of the weighting to recommend.

        Raises:
            InputError: one row carries all weight of the recommended weighting.
        """
        named = {**named_weightings(specs), AUTO: choice.weighting}
        weights = weights_of(named, rows, "standard")
        lost = without_spread(weights, compared)
        auto = list(named).index(AUTO)
        if lost[auto]:
            reason = f"one scored row carries all weight of {in_words(choice.weighting)}"
            choice = Choice(named[UNIFORM], CANNOT, reason)
            named[AUTO], weights[:, auto], lost[auto] = choice.weighting, weights[:, 0], False
        names = [*named, EXACT][: weights.shape[1]]
        left_out = [name for name, is_lost in zip(names, lost.tolist(), strict=True) if is_lost]
        if recommended in left_out:
            raise InputError(f"weighting={recommended}: one scored row carries all of its weight: flatten or clip it")
        if EXACT in left_out:
            rows = replace(rows, exact=None)
        kept = {name: weighting for name, weighting in named.items() if name not in left_out}
        return cls(rows, kept, weights[:, ~lost], choice, left_out)

    def number_of(self, name: str) -> int:
        """Returns which column of the weights is that weighting's."""
        return list(self.named).index(name)


def named_weightings(specs: Sequence[Any]) -> dict[str, Weighting]:
    """Name → weighting, the uniform one first.

    Raises:
        InputError: two weightings of one name.
    """
    weightings = {UNIFORM: Weighting(flatten=0.0)}
    for spec in specs:
        if spec.name in weightings or spec.name in (AUTO, EXACT):
            raise InputError(
                f"evaluation.weightings: two are named {spec.name!r} ({UNIFORM}, {AUTO} and {EXACT} are always taken)"
            )
        weightings[spec.name] = Weighting(spec.flatten, spec.clip, spec.smooth, stratify=spec.stratify)
    return weightings


def weights_of(weightings: Mapping[str, Weighting], rows: ScoredRows, convention: str) -> Float[Tensor, "n k"]:
    """One column per weighting; the exact weights, where the data set knows them, in the last one."""
    of = paper_weights if convention == "paper" else Weighting.__call__
    columns = [of(w, rows.log_ratio, rows.strata) for w in weightings.values()]
    return torch.stack(columns if rows.exact is None else [*columns, torch.softmax(rows.exact, 0)], dim=1)


def without_spread(weights: Float[Tensor, "n k"], compared: Bool[Tensor, " n"]) -> Bool[Tensor, " k"]:
    """Returns which weights have no score: one row has all of them, among all rows or among those that KID compares."""
    lost = carried_by_one_row(weights)
    some = weights[compared].sum(dim=0) > 0  # few rows may have no weight at all
    lost[some] |= carried_by_one_row(weights[compared][:, some])
    return lost | ~some
