"""The pairs: what the data are and what the model makes of them, from no error to a hopeless one."""

from dataclasses import dataclass

from .densities import Density, Normals, Students


@dataclass(frozen=True)
class Case:
    """A data density p and a model density q in d dimensions."""

    name: str
    d: int
    p: Density
    q: Density


def build_cases() -> list[Case]:
    """All cases; a shift δ is the distance of the means, spread over the coordinates."""
    cases = [Case(f"same, {d}d", d, Normals(d), Normals(d)) for d in (1, 8, 64)]
    for d in (1, 2, 4, 8, 16, 32, 64):
        for shift in (0.5, 1.0, 2.0):
            cases.append(Case(f"shift {shift:g}, {d}d", d, Normals(d, [shift / d**0.5]), Normals(d)))
    for d in (1, 4, 16):
        cases.append(Case(f"model wider 1.3, {d}d", d, Normals(d), Normals(d, scales=[1.3])))
        cases.append(Case(f"model narrower 0.8, {d}d", d, Normals(d), Normals(d, scales=[0.8])))
    for d in (2, 8):
        cases.append(Case(f"correlation 0.7 lost, {d}d", d, Normals(d, correlations=[0.7]), Normals(d)))
    for d in (1, 2, 8):
        modes = [-2 / d**0.5, 2 / d**0.5]
        both = Normals(d, modes, proportions=[0.5, 0.5])
        cases.append(Case(f"proportions 0.9 for 0.5, {d}d", d, both, Normals(d, modes, proportions=[0.9, 0.1])))
        apart = [-4 / d**0.5, 4 / d**0.5]
        cases.append(Case(f"mode missing, {d}d", d, Normals(d, apart, proportions=[0.5, 0.5]), Normals(d, apart[:1])))
    for d in (1, 2):
        # the normal distribution of the same mean and covariance
        mixture = Normals(d, [-1.5 / d**0.5, 1.5 / d**0.5], scales=[0.7], proportions=[0.5, 0.5])
        spread, share = 0.49 + 2.25 / d, 2.25 / d
        fitted = Normals(d, scales=[spread**0.5], correlations=[share / spread if d > 1 else 0.0])
        cases.append(Case(f"normal for two modes, {d}d", d, mixture, fitted))
    for d in (1, 4):
        cases.append(Case(f"normal for t(3), {d}d", d, Students(d, 3), Normals(d)))
        cases.append(Case(f"t(3) for normal, {d}d", d, Normals(d), Students(d, 3)))
    # far from the data, where weights have heavy tails
    for d in (2, 16):
        for shift in (3.0, 4.0):
            cases.append(Case(f"shift {shift:g}, {d}d", d, Normals(d, [shift / d**0.5]), Normals(d)))
    for d in (4, 16):
        cases.append(Case(f"model narrower 0.6, {d}d", d, Normals(d), Normals(d, scales=[0.6])))
    for d in (4, 8):
        cases.append(Case(f"correlation 0.9 lost, {d}d", d, Normals(d, correlations=[0.9]), Normals(d)))
    cases.append(Case("near-perfect: shift 0.1, 8d", 8, Normals(8, [0.1 / 8**0.5]), Normals(8)))
    cases.append(Case("hopeless: shift 6, 8d", 8, Normals(8, [6 / 8**0.5]), Normals(8)))
    cases.append(Case("hopeless: narrower 0.5, 64d", 64, Normals(64), Normals(64, scales=[0.5])))
    return cases
