"""How far 1.96 standard errors are a 95 % interval."""

NOMINAL, CONSERVATIVE, NONE = "nominal", "conservative", "none"


def interval_kind(score: float, null: float, effective_size: float, dimension: int) -> str:
    """nominal, conservative or none.

    First-order errors hold where the score is well above what noise alone gives, at least 3 times that, and a sample
    determines what the score is made of, ESS ≥ 10 D. Else they err on the large side: conservative. Below ESS = 2 D
    there is no interval.

    Args:
        null: the score of two such samples of one distribution.
        effective_size: the smaller effective size of the two sides.
        dimension: D, of the features.
    """
    if effective_size < 2 * dimension:
        return NONE
    return NOMINAL if score >= 3 * null and effective_size >= 10 * dimension else CONSERVATIVE
