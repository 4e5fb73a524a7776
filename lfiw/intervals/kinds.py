"""How far an interval of two standard errors covers what it should."""

NOMINAL, CONSERVATIVE, FEW_ROWS, NONE = "nominal", "conservative", "few rows", "none"
MIN_DEGREES_OF_FREEDOM = 30.0
MIN_ESS_PER_DIMENSION = 2.0  # fewer do not determine a covariance


def interval_kind(score: float, null: float, effective_size: float, dimension: int, degrees_of_freedom: float) -> str:
    """nominal, conservative, few rows or none.

    First-order errors hold where the score is well above what noise alone gives, at least 3 times that, and a sample
    determines what the score is made of, ESS ≥ 10 D. Else they err on the large side: conservative. Below ESS = 2 D
    there is no interval. Where the variance is that of a handful of rows, fewer than 30 degrees of freedom, it lacks
    what rows of that kind outside the sample would add, and intervals may cover too little: few rows. (FID, 1,000 rows,
    lognormal weights of normal features, 300 repetitions each: 97 % cover at a median of 29, 93 % at 12, 86 % at 7.)

    Args:
        null: the score of two such samples of one distribution.
        effective_size: the smaller effective size of the two sides.
        dimension: D, of the features.
        degrees_of_freedom: of the variance (`Contributions.degrees_of_freedom`).
    """
    if effective_size < MIN_ESS_PER_DIMENSION * dimension or degrees_of_freedom != degrees_of_freedom:
        return NONE
    if degrees_of_freedom < MIN_DEGREES_OF_FREEDOM:
        return FEW_ROWS
    return NOMINAL if score >= 3 * null and effective_size >= 10 * dimension else CONSERVATIVE
