"""Tables of CIFAR-10 and its generators: scores with and without weights."""

from .cells import Study, cells, grid, markdown, mean_of, names_of

# Table 1 of Grover et al. 2019, quoted from memory to compare direction and relative gain; not measured here
RECALLED = (
    ("as recalled from the paper: real against real", "11.09 ± 0.13", "5.20 ± 0.05", "0.008 ± 0.0004"),
    ("as recalled from the paper: PixelCNN++, default", "5.16 ± 0.01", "58.70 ± 0.05", "0.196 ± 0.0001"),
    ("as recalled from the paper: PixelCNN++, LFIW", "6.68 ± 0.08", "55.83 ± 0.97", "0.126 ± 0.0009"),
    ("as recalled from the paper: SNGAN, default", "8.33 ± 0.03", "20.40 ± 0.07", "0.094 ± 0.0002"),
    ("as recalled from the paper: SNGAN, LFIW", "8.57 ± 0.03", "17.29 ± 0.07", "0.073 ± 0.0004"),
)
GENERATORS = {"sngan": "SNGAN, compact", "pixelcnn": "PixelCNN++, compact", "vae": "VAE"}
WEIGHTINGS = {"uniform": "none", "self-normalised": "ŵ, as published", "flatten 0.25": "ŵ^0.25", "auto": "`auto`"}


FIRST = ["ESS", "k̂", "FID ↓", "FID − uniform", "its 95 % interval in one run (ratio fixed)", "FID − equal ESS"]


def cifar10_gan(study: Study) -> str:
    titles = ["weighting", *FIRST, "FID, infinite n", "KID ↓", "IS ↑ @resnet56", "FID ↓ @resnet56"]
    metrics = ["correction_fid", "infinite_fid", "kid", "is@resnet56", "fid@resnet56"]
    return markdown(titles, [[name, *scores(study, name, metrics)] for name in names_of(study, "fid", "ess")])


def scores(study: Study, name: str, metrics: list[str]) -> list[str]:
    """Formats a weighting's scores, with the interval of its difference to uniform in one run."""
    cell = cells(study)
    width = mean_of(study, name, "difference_half_width_fid")
    first = [cell(name, m) for m in ("ess", "pareto_k", "fid", "difference_fid")]
    return [*first, f"± {width:.2g}" if width else "–", *(cell(name, m) for m in metrics)]


def cifar10_skewed(study: Study) -> str:
    titles = ["weighting", "ESS", "FID ↓", "way to exact", "KID ↓", "way to exact", "class distance ↓", "way to exact"]
    titles += ["by labels ↓", "way to exact", "FID ↓ @resnet56", "way to exact"]
    metrics = ["ess", "fid", "way_fid", "kid", "way_kid", "class_distance", "way_class_distance"]
    metrics += ["label_distance", "way_label_distance", "fid@resnet56", "way_fid@resnet56"]
    return grid(study, titles, metrics, ["reference", "uniform", "self-normalised", "auto", "exact"])


def bfloat16(study: Study) -> str:
    cell = cells(study)
    rows = [[name, *(cell(name, m) for m in ("fid", "kid"))] for name in ("fp32", "bf16")]
    drift = [f"{100 * r['mean']:.2f} %" for r in study["rows"] if r["name"].startswith("bf16 −")]
    return markdown(["precision", "FID", "KID"], [*rows, ["difference", *drift]])


def cifar10_paper(study: Study) -> str:
    cell = cells(study)
    shown = {"reference": "reference", "uniform": "default", "self-normalised": "LFIW"}
    rows = [[f"ours, {title}", *(cell(n, f"{m}_paper") for m in ("fid", "kid"))] for n, title in shown.items()]
    for row, name in zip(rows, shown, strict=True):
        row.insert(1, cell(name, "is_paper@resnet56") + " (resnet56)")
    return markdown(["model", "IS ↑", "FID ↓", "KID ↓"], rows + [list(row) for row in RECALLED])


def cifar10_networks(study: Study) -> str:
    cell = cells(study)
    titles = ["ratio network", "validation log-loss ↓", "ESS", "k̂", "FID − uniform"]
    titles += [f"{title}, ŵ^0.25" for title in ("KL gain", "ESS", "FID − uniform")]
    rows = []
    for name in names_of(study, "log_loss"):
        plain = [cell(f"{name}: self-normalised", m) for m in ("ess", "pareto_k", "difference_fid")]
        flattened = [cell(f"{name}: flatten 0.25", m) for m in ("kl_gain", "ess", "difference_fid")]
        rows.append([name, cell(name, "log_loss"), *plain, *flattened])
    return markdown(titles, rows)


def trained_generators(study: Study) -> str:
    """Lists the outcome of each generator's training."""
    cell = cells(study)
    titles = ["generator", "epochs", "minutes of training", "bits per dimension, validation ↓"]
    rows = []
    for name in trained_names(study):
        minutes = f"{mean_of(study, name, 'seconds') / 60:.0f}"
        rows.append([GENERATORS[name], cell(name, "epochs"), minutes, cell(name, "val/bits_per_dim")])
    return markdown(titles, rows)


def generators(study: Study) -> str:
    """Has the form of the paper's Table 1: default and corrected scores per family."""
    titles = ["generator", "weights", *FIRST, "KID ↓", "IS ↑ @resnet56", "FID ↓ @resnet56"]
    metrics = ["correction_fid", "kid", "is@resnet56", "fid@resnet56"]
    scored = {name.partition(":")[0] for name in names_of(study) if ": " in name}
    rows = [
        [GENERATORS[name], shown, *scores(study, f"{name}: {weighting}", metrics)]
        for name in trained_names(study)
        if name in scored
        for weighting, shown in WEIGHTINGS.items()
    ]
    return markdown(titles, rows)


def trained_names(study: Study) -> list[str]:
    """Returns the generators in the study."""
    return [name for name in GENERATORS if name in names_of(study)]
