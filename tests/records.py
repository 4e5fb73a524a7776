"""An evaluation as evaluation.json has it, of plausible numbers."""

from typing import Any

from lfiw.evaluation.record import EvaluationRecord


def value(number: float | None) -> dict[str, Any]:
    return {"value": number, "se": None}


def score(number: float) -> dict[str, Any]:
    return {
        "value": number, "se": 0.25, "half_width": 0.5, "interval": "nominal",
        "difference": {"value": number - 10, "se": 0.125, "half_width": 0.25},
        "control": value(number + 1), "correction": value(-1.0), "infinite": {"value": None, "se": None},
    }  # fmt: skip


def weighting(name: str, fid: float, proportions: list[float]) -> dict[str, Any]:
    paper = {**value(fid + 1), "difference": value(fid - 10)}
    metrics = {"fid": score(fid), "kid@classifier": score(0.5), "fid_paper": paper}
    return {
        "name": name, "flatten": 0.0 if name == "uniform" else 1.0, "clip": 0.0, "smooth": False,
        "ess": 123.4, "ess_share": 0.006, "pareto_k": 0.25, "max_weight": 0.01, "top_1_percent_share": 0.02,
        "kl_gain": None, "metrics": metrics,
        "class_proportions": proportions,
    }  # fmt: skip


CALIBRATION = (
    "log_loss", "calibration_error", "max_calibration_error", "mean_weight_generated", "mean_inverse_weight_real"
)  # fmt: skip
RECORD: dict[str, Any] = {
    "experiment": "mine",
    "version": "9.9",
    "run": "first",
    "folds": 1,
    "ensemble": 1,
    "tables": [{"name": "real", "rows": 2500, "sha256": "ab" * 32}, {"name": "generated", "rows": 1, "sha256": None}],
    "flattening": {"exponents": [0.0, 1.0], "ess": [20000.0, 123.4], "scores": {"fid": [10.0, 5.0]}},
    "num_real": 1000,
    "num_generated": 20000,
    "num_reference": 500,
    "extractors": [{"name": "pixels", "sha256": ""}],
    "reference": {"fid": value(1.5)},
    "recommended": "half",
    "verdict": "corrects",
    "calibration": "beta",
    "classifier": {
        "num_real": 70,
        "num_generated": 60,
        "accuracy": 0.75,
        "two_sample_p_value": 1e-5,
        "density_chasm": False,
        "raw": dict.fromkeys(CALIBRATION, 0.5),
        "calibrated": dict.fromkeys(CALIBRATION, 0.25),
    },
    "reason": "because",
    "pareto_k_threshold": 0.7,
    "real_class_proportions": [0.5, 0.5],
    "weightings": [
        weighting("uniform", 10.0, [0.9, 0.1]),
        weighting("self-normalised", 5.0, [0.6, 0.4]),
        weighting("half", 4.0, [0.7, 0.3]),
        weighting("other", 6.0, [1.0, 0.0]),
    ],
}
read = EvaluationRecord.from_json
