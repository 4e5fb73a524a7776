"""Tables of how far a ratio corrects features that it saw, and others."""

from .cells import Row, Study, by_name, markdown, names_of, plus_minus

JUDGES = ("Inception", "EfficientNet", "MobileNet", "ResNet-56")
SHARES = "class_distance@ResNet-20"
COUNTED = "ResNet-56"  # by whose labels class shares are matched
EQUAL, FEWER = "ESS 60%", "ESS 30%"
# whose ESS the others must have; where class shares are far off, theirs is lower
SAME = {EQUAL: f"GAN, Inception: {EQUAL}", FEWER: f"GAN, mean of Inception + MobileNet + ResNet-56: {FEWER}"}
MATCHED, PERMUTED = ", class shares matched", ", permuted"
# weighting in the study → how the table tells it
GATE = {"auto": "matched where possible", "auto, classes as they fall": "as they fall"}
AT_ESS = {
    "": "as they fall",
    MATCHED: "matched",
    PERMUTED: "as they fall, weights permuted",
    MATCHED + PERMUTED: "matched, weights permuted",
}


def by_gate(study: Study) -> str:
    """Lists the effect of the gate's choice, one row per generator, ratio and treatment of class shares."""
    return changes(study, GATE, names=names_of(study, "ess"), ess=True)


def at_equal_ess(study: Study) -> str:
    """Lists the same at equal ESS, 60 % of the samples, with the controls: these weights permuted."""
    return at_ess(study, EQUAL)


def at_fewer(study: Study) -> str:
    """Lists the same at 30 %."""
    return at_ess(study, FEWER)


def at_ess(study: Study, name: str) -> str:
    """Lists the weightings of this name that have as many effective samples as the first one."""
    found = by_name(study)
    enough = found[SAME[name], "ess"]["mean"]
    names = [of for of in names_of(study, "ess") if abs(found[of, "ess"]["mean"] / enough - 1) < 0.01]
    return changes(study, {name + of: told for of, told in AT_ESS.items()}, names=names)


def by_neighbours(study: Study) -> str:
    """Lists scores that ask for quality and diversity one by one, unweighted and under the gate's weights."""
    found = by_name(study)
    kinds = ("precision", "recall", "density", "coverage")
    rows = []
    for name in names_of(study, f"{kinds[0]}@EfficientNet"):
        subject, _, of = name.partition(": ")
        generator, _, ratio = subject.partition(", ")
        cells = [found[name, f"{kind}@EfficientNet"] for kind in kinds]
        cells += [found[name, "is@ResNet-56"], found[name, SHARES]]
        rows.append([generator, ratio if of else "–", "auto" if of else ratio, *map(absolute, cells)])
    titles = ["generator", "ratio on", "weights", *kinds, "IS, by ResNet-56", "class distance, by ResNet-20"]
    return markdown(titles, rows)


def absolute(row: Row) -> str:
    return f"{row['mean']:.3f}" + ("" if row["se"] is None else f" ± {row['se']:.3f}")


def latent(study: Study) -> str:
    """Lists unweighted sets drawn by a ratio, judged by the network that it saw and by another."""
    found = by_name(study)
    judged = [(score, network) for network in (COUNTED, "EfficientNet") for score in ("fid", "kid")]
    titles = ["set", "images scored per sample", "accepted", "mean log-ratio"]
    titles += [f"{score.upper()} ↓, {network}" for score, network in judged]
    rows = []
    for name in names_of(study):
        method, _, pool = name.partition(", ")
        own = [found[name, f"{score}@{network}"] for score, network in judged]
        cells = [f"{found[name, 'accepted']['mean']:.0%}" if pool else "–"]
        cells += [plus_minus(row["mean"], row["se"]) for row in (found[name, "log_ratio"], *own)]
        rows.append([method, pool or "1", *cells])
    return markdown(titles, rows)


def changes(study: Study, weightings: dict[str, str], *, names: list[str], ess: bool = False) -> str:
    """Lists changes relative to unweighted samples, in per cent; italics mark features that the ratio saw."""
    found = by_name(study)
    titles = ["generator", "ratio on", "class shares", *(["ESS"] if ess else [])]
    titles += [*(f"FID, {j}" for j in JUDGES), *(f"KID, {j}" for j in JUDGES), "class distance, by ResNet-20"]
    rows = []
    for name in names:
        subject, _, of = name.partition(": ")
        if of not in weightings:
            continue
        generator, _, ratio = subject.partition(", ")
        matched = weightings[of].startswith("matched")
        seen = {judge for judge in JUDGES if judge in ratio or (matched and judge == COUNTED)}
        if of.endswith(PERMUTED):
            seen = set()
        cells = [
            change(found.get((name, f"change_{score}@{judge}")), seen=judge in seen)
            for score in ("fid", "kid")
            for judge in JUDGES
        ]
        shares = change(found.get((name, f"change_{SHARES}")), seen=False)
        effective = [f"{found[name, 'ess']['mean']:,.0f}"] if ess else []
        rows.append([generator, ratio, weightings[of], *effective, *cells, shares])
    return markdown(titles, rows)


def change(row: Row | None, *, seen: bool) -> str:
    """Formats `−12.4 ± 0.3 %`, in italics if the ratio saw these features."""
    if row is None:
        return "–"
    error = "" if row["se"] is None else f" ± {100 * row['se']:.1f}"
    text = f"{100 * row['mean']:.1f}{error} %".replace("-", "−")
    return f"*{text}*" if seen else text
