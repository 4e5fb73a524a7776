"""Tables of small problems and known truths: is the learned ratio right?"""

from .cells import Study, by_name, cells, markdown


def digits(study: Study) -> str:
    cell = cells(study)
    titles = ["weighting", "ESS", "FID ↓", "FID − uniform", "KID ↓", "FID ↓ @classifier", "IS ↑", "class distance ↓"]
    metrics = ["ess", "fid", "difference_fid", "kid", "fid@classifier", "is@classifier", "class_distance"]
    shown = ["reference", "uniform", "self-normalised", "smoothed", "flatten 0.5", "clip 1"]
    return markdown(titles, [[name, *(cell(name, m) for m in metrics)] for name in shown])


def toy(study: Study) -> str:
    cell = cells(study)
    cases = [r["name"] for r in study["rows"] if r["metric"] == "log_ratio_rmse"]
    kinds = ["uniform", "learned", "exact"]
    titles = [
        "data",
        "log-ratio RMSE",
        *(f"bias of {quantity}, {kind}" for quantity in ("P(valley)", "E\\|x − μ\\|") for kind in kinds),
    ]
    quantities = ("bias_valley", "bias_distance")
    rows = [
        [c, cell(c, "log_ratio_rmse"), *(cell(f"{c} {kind}", q) for q in quantities for kind in kinds)] for c in cases
    ]
    return markdown(titles, rows)


def statistics(study: Study) -> str:
    names = {
        ("num_cases", "count"): "pairs of densities",
        ("num_seeds", "count"): "seeds each",
        ("auto_significantly_worse_share", "share"): "pairs where `auto` is significantly worse than uniform (goal: 0)",
        ("auto_mse_within_105_share", "share"): "pairs where its squared error is at most 1.05 × plain (goal: 0.95)",
        (
            "auto_lower_mse_where_k_high_share",
            "share",
        ): "of the pairs with plain k̂ > 0.7: where it is lower (goal: 0.8)",
        ("nothing_is_right_share", "share"): "“nothing to correct” said: where plain weights were no better",
        ("interval_coverage", "share"): "95 % intervals of means under `auto` that hold their limit",
        ("interval_coverage_few_rows", "share"): "… of those marked “few rows”",
        (
            "auto_for_scores_significantly_worse_share",
            "share",
        ): "gate for scores (FID, …): pairs where it is significantly worse than uniform",
        ("auto_for_scores_mse_within_105_share", "share"): "… pairs with a squared error of at most 1.05 × plain",
        ("cannot_is_right_share", "share"): "… “cannot be corrected” said: where plain weights were no better",
        ("median_bias_reduction", "plain"): "median reduction of the error, plain weights (the paper's)",
        ("median_bias_reduction", "calibrated"): "… with temperature scaling",
        ("median_bias_reduction", "auto"): "… `auto`",
        ("median_bias_reduction", "exact"): "… exact weights",
        (
            "median_mse_over_uniform_low_dimensions",
            "plain",
        ): "median squared error over uniform's, up to 4 dimensions: plain",
        ("median_mse_over_uniform_low_dimensions", "auto"): "… `auto`",
        ("median_mse_over_uniform_low_dimensions", "RuLSIF"): "… densratio's RuLSIF (500 rows a side)",
    }
    found = by_name(study)
    rows = []
    for key, title in names.items():
        r = found[key]
        of = f" of {r['of']:,}" if "of" in r else ""
        rows.append([title, f"{r['mean']:.3g}{of}"])
    return markdown(["known truths", ""], rows)


def estimators(study: Study) -> str:
    cell = cells(study)
    titles = ["loss, data", "log-ratio RMSE"]
    titles += [f"{kind} of {q}" for q in ("P(valley)", "E\\|x − μ\\|") for kind in ("bias", "sd")]
    metrics = ["log_ratio_rmse", "bias_valley", "sd_valley", "bias_distance", "sd_distance"]
    names = list(dict.fromkeys(r["name"] for r in study["rows"]))
    return markdown(titles, [[name, *(cell(name, m) for m in metrics)] for name in names])
