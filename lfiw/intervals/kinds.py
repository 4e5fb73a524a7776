"""How far 1.96 standard errors are a 95 % interval."""

NOMINAL, CONSERVATIVE, NONE = "nominal", "conservative", "none"


def interval_kind(score: float, null: float, effective_size: float, dimension: int) -> str:
    """nominal, conservative or none.

    First-order errors hold where the score is well above what noise alone gives, at least 3 times that, and a sample
    determines what the score is made of, ESS ≥ 10 D. Else they err on the large side: conservative. Below ESS = 2 D
    there is no interval.

    What the label cannot see: rows of the tail of the weights that the sample lacks. Where heavy weights meet the high
    powers of the features that FID and KID take, errors may be too small whatever the label: on lognormal weights of
    normal features 82 to 90 % of the intervals covered at ESS/n of 0.25 to 0.4 (FID), 89 % at 0.7 (KID).

    Args:
        null: the score of two such samples of one distribution.
        effective_size: the smaller effective size of the two sides.
        dimension: D, of the features.
    """
    if effective_size < 2 * dimension:
        return NONE
    return NOMINAL if score >= 3 * null and effective_size >= 10 * dimension else CONSERVATIVE
