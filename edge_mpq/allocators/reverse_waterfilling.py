"""Bits in closed form: every layer ends at one level of harm per weight, unless its menu ends before.

For harms imp_l 2**(-2 b_l), costs that rise by n_l a bit and sum n_l b_l <= B, the best bits are
b_l = mean + 1/2 log2((imp_l / n_l) / their geometric mean), means weighed by n_l: reverse
water-filling of rate-distortion theory (Cover and Thomas, Elements of Information Theory, chapter 10),
as used for layers by importance (Yvinec et al., arXiv 2308.07662, whose own formula could not be
read).  Bits are held to what the menu has, rounded to it, and then repaired by greedy's steps.  With
several limits each layer takes the fewest bits that any of them gives it.  Within a few percent of
``milp`` where harms keep that law; where they do not, far from it.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq

from edge_mpq.allocators import Limit, Loss, ScoreTable
from edge_mpq.allocators._problem import Problem, problem
from edge_mpq.allocators.greedy import repaired
from edge_mpq.cost import Pair
from edge_mpq.records import formats

# Wider formats follow no such law: their harm is nothing, or what the estimate of it errs by.  Layers
# get them from the repair, where the limits leave room.
MOST_BITS = 8


def allocate(
    scores: ScoreTable, limits: Sequence[Limit], ties: Sequence[Sequence[str]], loss: Loss | None = None
) -> dict[str, Pair]:
    """Pairs of low total harm within all limits; see the family's contract."""
    made = problem(scores, limits, ties)
    bits = _bits(made)
    real = np.isfinite(made.harm)
    narrow = real & (bits <= MOST_BITS)
    lawful = np.where(narrow.any(axis=1, keepdims=True), narrow, real)
    wanted = bits.max(axis=1, initial=0, where=lawful)
    for k in range(len(limits)):
        wanted = np.minimum(wanted, _level(made, bits, lawful, k))
    away = np.where(real, np.abs(bits - wanted[:, None]), np.inf)
    # Of pairs that are equally near, the least harmful.
    chosen = np.array([min(range(len(row)), key=lambda p: (away[u, p], row[p])) for u, row in enumerate(made.harm)])
    return made.answer(repaired(made, chosen))


def _bits(made: Problem) -> np.ndarray:
    """Bits of a weight in every choice: [U, P]."""
    found = np.zeros(made.harm.shape)
    for u, menu in enumerate(made.pairs):
        found[u, : len(menu)] = [formats.get(pair[0]).bits for pair in menu]
    return found


def _level(made: Problem, bits: np.ndarray, lawful: np.ndarray, k: int) -> np.ndarray:
    """The bits [U], no whole numbers, that spend limit ``k`` best on the choices ``lawful`` [U, P]."""
    least, most = bits.min(axis=1, initial=np.inf, where=lawful), bits.max(axis=1, initial=0, where=lawful)
    lowest = made.costs[k].min(axis=1, initial=np.inf, where=lawful)
    highest = made.costs[k].max(axis=1, initial=0, where=lawful)
    rise = (highest - lowest) / np.maximum(most - least, 1)
    costly = rise > 0
    bonus = np.where(costly, 0.5 * np.log2(importance(made.harm, bits) / np.where(costly, rise, 1.0)), 0.0)

    def filled(level: float) -> np.ndarray:
        # What costs nothing takes all the bits there are.
        return np.where(costly, np.clip(level + bonus, least, most), most)

    def spare(level: float) -> float:
        return float(made.most[k] - (lowest + rise * (filled(level) - least)).sum())

    bottom, top = float((least - bonus).min()), float((most - bonus).max())
    if spare(top) >= 0:
        return filled(top)
    return filled(bottom if spare(bottom) <= 0 else brentq(spare, bottom, top))


def importance(harm: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """imp [U] of the law imp 2**(-2 b) that passes amid each row of ``harm`` [U, P] at ``bits`` [U, P]."""
    fits = np.isfinite(harm) & (harm > 0) & (bits <= MOST_BITS) & (bits > 0)
    logs = np.where(fits, np.log2(harm, where=fits, out=np.zeros_like(harm)) + 2 * bits, 0.0)
    count = fits.sum(axis=1)
    found = logs.sum(axis=1) / np.maximum(count, 1)
    # A layer that nothing harms needs no bits: less than any other by far.
    return np.exp2(np.where(count > 0, found, found.min(initial=0.0) - 64))
