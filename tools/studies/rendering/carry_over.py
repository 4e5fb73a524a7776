"""Tables of how far a ratio corrects features that it saw, and others."""

from .cells import Row, Study, by_name, markdown, names_of, plus_minus

JUDGES = ("Inception", "EfficientNet", "ResNet-56")
LABELS = "class_distance@ResNet-56"


def by_gate(study: Study) -> str:
    """Lists the effect of the gate's choice, one row per generator and ratio."""
    return changes(study, "auto")


def at_equal_ess(study: Study) -> str:
    """Lists the same at equal ESS, 60 % of the samples, with the control: these weights permuted."""
    return changes(study, "ESS 60%", control=True)


def changes(study: Study, weighting: str, *, control: bool = False) -> str:
    """Lists changes relative to unweighted samples, in per cent; italics mark features that the ratio saw."""
    found = by_name(study)
    titles = ["generator", "ratio on", "ESS", *(f"FID, {j}" for j in JUDGES), *(f"KID, {j}" for j in JUDGES)]
    rows = []
    for name in names_of(study, "ess"):
        subject, _, of = name.partition(": ")
        if of not in (weighting, *([f"{weighting}, permuted"] if control else [])):
            continue
        generator, _, ratio = subject.partition(", ")
        permuted = of != weighting
        cells = [
            change(found.get((name, f"change_{score}@{judge}")), seen=judge in ratio and not permuted)
            for score in ("fid", "kid")
            for judge in JUDGES
        ]
        shares = change(found.get((name, f"change_{LABELS}")), seen="ResNet-56" in ratio and not permuted)
        ess = f"{found[name, 'ess']['mean']:,.0f}"
        rows.append([generator, f"{ratio}, permuted" if permuted else ratio, ess, *cells, shares])
    return markdown([*titles, "class distance, by ResNet-56"], rows)


def change(row: Row | None, *, seen: bool) -> str:
    """Formats `−12.4 ± 0.3 %`, in italics if the ratio saw these features."""
    if row is None:
        return "–"
    mean = plus_minus(100 * row["mean"], None if row["se"] is None else 100 * row["se"])
    text = f"{mean} %".replace("-", "−")
    return f"*{text}*" if seen else text
