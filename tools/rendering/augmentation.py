"""Tables of the classifiers that are trained on weighted samples."""

from .cells import Row, Study, by_name, markdown, plus_minus

REGIMES = {
    "real": "real",
    "generated": "generated",
    "generated_weighted": "generated, weighted",
    "both": "real + generated",
    "both_weighted": "real + generated, weighted",
    "both_resampled": "real + generated, resampled by weight",
    "both_filtered": "real + heavier half of the generated",
}
# Table 2 of Grover et al. 2019 from memory, as above
RECALLED_AUGMENTATION = {
    "real": "66.03 ± 0.12",
    "generated": "44.31 ± 0.54",
    "generated_weighted": "44.81 ± 0.56",
    "both": "66.00 ± 0.40",
    "both_weighted": "68.18 ± 0.22",
}


def omniglot(study: Study) -> str:
    found = by_name(study)

    def cell(name: str) -> str:
        return percent(found.get((name, "accuracy")))

    titles = ["trained on", "test accuracy, %", "− real", "weighted − unweighted", "as recalled from the paper"]
    rows = []
    for name, title in REGIMES.items():
        against = "generated" if name == "generated_weighted" else "both"
        cells = [cell(name), cell(f"{name}-real"), cell(f"{name}-{against}")]
        rows.append([title, *cells, RECALLED_AUGMENTATION.get(name, "–")])
    return markdown(titles, rows)


def quality(study: Study) -> str:
    """A generator a row: what was chosen on splits of their own, and the regimes' accuracies on the reporting ones."""
    found = by_name(study)
    titles = ["generator", "λ, α, β", *(f"{REGIMES[r]}, %" for r in ("real", "both", "both_weighted"))]
    titles += ["weighted − unweighted", "ESS of the weights"]
    rows = []
    for prefix in dict.fromkeys(name.partition(": ")[0] for name, _ in found):
        chosen = [f"{found[f'{prefix}: chosen', m]['mean']:g}" for m in ("coefficient", "flatten", "clip")]
        accuracies = [percent(found.get((f"{prefix}: {r}", "accuracy"))) for r in ("real", "both", "both_weighted")]
        gap = percent(found.get((f"{prefix}: both_weighted-both", "accuracy")))
        ess = found.get((f"{prefix}: weights", "ess"))
        rows.append([prefix, ", ".join(chosen), *accuracies, gap, "–" if ess is None else f"{ess['mean']:.0f}"])
    return markdown(titles, rows)


def percent(row: Row | None) -> str:
    """A share in per cent, with its standard error, or as a difference with its interval."""
    if row is None:
        return "–"
    if "low" in row:
        return f"{100 * row['mean']:+.2f} [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}]"
    return plus_minus(100 * row["mean"], None if row["se"] is None else 100 * row["se"])
