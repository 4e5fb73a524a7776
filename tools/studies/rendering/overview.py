"""All studies in one table: scores without and with weights, and links to their pages."""

from collections.abc import Mapping

from .carry_over import SHARES
from .cells import Study, by_name, markdown, plus_minus

# study → its page below docs/results
PAGES = {
    "digits": "digits",
    "cifar10_skewed": "cifar10",
    "cifar10_gan": "cifar10",
    "generators": "generators",
    "toy": "known_truths",
    "omniglot_short": "omniglot",
    "ope_distances": "off_policy",
    "carry_over": "carry_over",
}
BOTH = "mean of Inception + ResNet-56: auto"
ENVIRONMENTS = ("HalfCheetah", "HumanoidStandup", "Swimmer")
# what, score, study, metric, name without weights, name with weights
ROWS = (
    ("Digits, skewed class shares", "FID ↓", "digits", "fid", "uniform", "self-normalised"),
    ("CIFAR-10, known skew", "FID ↓", "cifar10_skewed", "fid", "uniform", "auto"),
    ("CIFAR-10, small GAN", "FID ↓", "cifar10_gan", "fid", "uniform", "auto"),
    ("… by a network that no ratio saw", "FID ↓", "carry_over", "fid@EfficientNet", "GAN, uniform", f"GAN, {BOTH}"),
    ("… class shares, by another", "distance ↓", "carry_over", SHARES, "GAN, uniform", f"GAN, {BOTH}"),
    ("CIFAR-10, SNGAN", "FID ↓", "generators", "fid", "sngan: uniform", "sngan: auto"),
    ("CIFAR-10, PixelCNN++", "FID ↓", "generators", "fid", "pixelcnn: uniform", "pixelcnn: auto"),
    ("Mixture fitted by a Gaussian", "bias ↓", "toy", "bias_valley", "1d n=1000 uniform", "1d n=1000 learned"),
    ("Omniglot, poor generator", "accuracy ↑", "omniglot_short", "accuracy", "noise3: both", "noise3: auto"),
    *(
        (
            f"Unseen policy, {env}",
            "error ↓",
            "ope_distances",
            "abs_error",
            f"{env}-v5, λ=1/uncorrected",
            f"{env}-v5, λ=1/auto",
        )
        for env in ENVIRONMENTS
    ),
)


def table(studies: Mapping[str, Study]) -> str:
    """Lists one study per row; links are relative to the repository's root."""
    rows = []
    for what, score, study, metric, *names in ROWS:
        results = [by_name(studies[study])[name, metric] for name in names]
        link = f"[{PAGES[study]}](docs/results/{PAGES[study]}.md)"
        rows.append([what, score, *(plus_minus(r["mean"], r["se"]) for r in results), link])
    return markdown(["study", "score", "without weights", "with weights", "page"], rows)
