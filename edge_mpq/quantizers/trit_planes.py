"""Two planes of trits for weights: w = a1 t1 + a2 t2, t of {-1, 0, 1}, with two scales for each block of an output.

He Xiao, Runming Yang, Qingyao Yang et al., PTQTP: Post-Training Quantization to Trit-Planes for Large
Language Models, 2025, arXiv 2509.16989.  Without data, scales and trits are improved in turn: the
scales by a regression of two unknowns, whose ridge grows only while the system is ill-conditioned, the
trits by trying all nine pairs for every weight.  Ties are broken for the zero pair, then for fewer
trits, then for the second plane, which is what tells two planes apart that begin alike.  The authors'
code is not published; what the paper leaves open is a reconstruction, and the tolerance is relative to
the weights, so that small ones do not stop early.

Besides ``free`` there are ``tied`` (a1 = 3 a2: the nine values are the integers -4 to 4 times a2, so this is
an INT4 tensor), ``warm`` (starts from tied and is never worse) and ``multistart`` (the best of several
starts, these two among them).  Each plane takes a container of two bits: four bits a weight, at which
plain INT4 has the smaller error.

Axis letters: K outputs, C inputs, B blocks of an output (C = B x G), R rows of G weights (R = K x B).
"""

import torch
from torch import nn

from edge_mpq.errors import CalibrationError
from edge_mpq.quantizers.affine import SMALLEST_SCALE
from edge_mpq.quantizers.blocks import BlockQuantizer
from edge_mpq.records.formats import Format

VARIANTS = ("free", "tied", "warm", "multistart")
# Pairs (t1, t2) in the order in which ties are broken.
PAIRS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
ITERATIONS, TOLERANCE = 50, 1e-4
LEAST_RIDGE, MOST_RIDGE, MOST_CONDITION = 1e-8, 1.0, 1e6
# Steps of tied planes that are tried, as shares of the one that clips nothing.
_SHARES = torch.linspace(1.0, 0.2, 33).tolist()
# Scales that other starts begin with, in standard deviations of a row.
_STARTS = ((1.5, 0.5), (1.2, 0.8), (2.0, 0.7), (1.0, 0.3))


class TritPlaneQuantizer(nn.Module):
    """Fake quantization of a weight [K, C, ...] whose trailing extents are 1, to the nearest of nine values a block.

    scale: float32 [2, K, B], of the first and the second plane, not below zero.  Gradients pass straight
    through up to the greatest of the nine values.
    """

    scale: torch.Tensor

    def __init__(self, scale: torch.Tensor, block: int):
        super().__init__()
        self.bits, self.block = 4, block
        self.register_buffer("scale", scale.detach().float())

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        first, second = self.planes(weight).unflatten(2, (-1, self.block)) * self.scale[..., None]
        rounded = (first + second).reshape(weight.shape)
        reach = self.scale.sum(0)[..., None].expand(first.shape).reshape(weight.shape)
        straight = weight * (weight.detach().abs() <= reach)
        return straight + (rounded - straight).detach()

    @torch.no_grad()
    def planes(self, weight: torch.Tensor) -> torch.Tensor:
        """The trits [2, K, C] of ``weight``, int8: the rounding of :meth:`forward`."""
        rows = weight.detach().reshape(-1, self.block)
        return _nearest(rows, self.scale.flatten(1).T).reshape(2, len(weight), -1)

    def extra_repr(self) -> str:
        return f"two planes of trits, blocks of {self.block}"


def quantizer(
    form: Format, low: torch.Tensor, high: torch.Tensor, symmetric: bool, axis: int | None
) -> TritPlaneQuantizer:
    """Tied planes that reach over [low, high], each [K, B]; ``symmetric`` and ``axis`` say nothing here.

    Raises ValueError for a format without blocks of four bits, CalibrationError for a range that is not finite.
    """
    if not form.block or form.bits != 4:
        raise ValueError(f"{form.name} has no two planes of two bits")
    if not (torch.isfinite(low).all() and torch.isfinite(high).all()):
        raise CalibrationError("a weight is not finite", "these weights are broken; load others")
    step = torch.maximum(low.abs(), high.abs()).float() / 4
    return TritPlaneQuantizer(torch.stack([3 * step, step]), form.block)


@torch.no_grad()
def fitted(
    weight: torch.Tensor,
    block: int,
    variant: str = "free",
    importance: torch.Tensor | None = None,
    iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
) -> TritPlaneQuantizer:
    """The planes of a weight [K, C, ...] with least squared error that ``variant`` finds.

    importance: [C], what a squared error at each input counts (the mean square of that input: the diagonal
    of a layer's Hessian), alike for all without.  tolerance: a block is done when its scales move by less, in
    standard deviations of its weights.  Raises ValueError for another variant or a block that does not
    divide C, CalibrationError for weights that are not finite.
    """
    if variant not in VARIANTS or weight[0].numel() % block:
        raise ValueError(f"{variant} planes of blocks of {block} for {tuple(weight.shape)}")
    if not torch.isfinite(weight).all():
        raise CalibrationError("a weight is not finite", "these weights are broken; load others")
    rows = weight.detach().float().reshape(-1, block)
    counts = torch.ones(1, block) if importance is None else _shares(importance, block).repeat(len(weight), 1)
    step = tied_steps(rows, counts)
    if variant == "tied":
        scales = [torch.stack([3 * step, step], 1)]
    else:
        starts = []
        if variant != "warm":
            starts.append(torch.sign(rows).to(torch.int8).expand(2, -1, -1))
        if variant != "free":
            starts.append(_nearest(rows, torch.stack([3 * step, step], 1)))
        if variant == "multistart":
            spread = rows.square().mean(1).sqrt()[:, None]
            starts += [_nearest(rows, spread * torch.tensor(start)) for start in _STARTS]
        scales = [_alternated(rows, counts, start, iterations, tolerance) for start in starts]
    least = torch.stack([_errors(rows, counts, scale) for scale in scales]).argmin(0)
    best = torch.stack(scales)[least, torch.arange(len(rows))]
    # The nine values are the same for either sign and order of the two.
    best = best.abs().sort(1, descending=True).values
    return TritPlaneQuantizer(best.T.reshape(2, len(weight), -1), block)


def integer_grid(planes: TritPlaneQuantizer) -> BlockQuantizer:
    """The INT4 grid on which tied planes lie: code 3 t1 + t2.  Raises ValueError where they are not tied."""
    first, second = planes.scale
    if not torch.equal(first, 3 * second):
        raise ValueError("these planes are not tied")
    step = torch.where(second > 0, second, torch.ones_like(second))
    return BlockQuantizer(step, torch.zeros_like(step), 4, True, planes.block)


@torch.no_grad()
def tied_steps(rows: torch.Tensor, counts: torch.Tensor | None = None) -> torch.Tensor:
    """The step [R] with which each of ``rows`` [R, G] errs least on the integers -4 to 4; zero for rows of zeros.

    Shares of the greatest weight are tried, each also after a regression of the step on its codes.
    """
    counts = torch.ones(1, rows.shape[1]) if counts is None else counts
    widest = rows.abs().amax(1) / 4
    best, least = widest, torch.full_like(widest, torch.inf)
    for share in _SHARES:
        step = widest * share
        codes = _codes(rows, step)
        power = (counts * codes.square()).sum(1)
        refined = (counts * codes * rows).sum(1) / power.clamp(min=SMALLEST_SCALE)
        for tried in (step, torch.where(refined > 0, refined, step)):
            tried = _shortened(tried)
            error = (counts * (_codes(rows, tried) * tried[:, None] - rows).square()).sum(1)
            best = torch.where(error < least, tried, best)
            least = torch.minimum(error, least)
    return best


def _errors(rows: torch.Tensor, counts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The squared error [R] of ``rows`` [R, G] on the nine values of ``scale`` [R, 2], counted by ``counts``."""
    first, second = _nearest(rows, scale) * scale.T[..., None]
    return (counts * (rows - first - second).square()).sum(1)


def _alternated(
    rows: torch.Tensor, counts: torch.Tensor, trits: torch.Tensor, iterations: int, tolerance: float
) -> torch.Tensor:
    """Scales [R, 2] after regressions and searches in turn, from ``trits`` [2, R, G] on."""
    scale = torch.ones(len(rows), 2)
    counts, trits = counts.expand(rows.shape), trits.clone()
    enough = tolerance * rows.std(1, correction=0)
    active = torch.arange(len(rows))
    for _ in range(iterations):
        mine = rows[active]
        moved = _regressed(mine, counts[active], trits[:, active])
        done = (moved - scale[active]).norm(dim=1) < enough[active]
        scale[active], trits[:, active] = moved, _nearest(mine, moved)
        active = active[~done]
        if not len(active):
            break
    return scale


def _regressed(rows: torch.Tensor, counts: torch.Tensor, trits: torch.Tensor) -> torch.Tensor:
    """The scales [R, 2] that err least with ``trits`` [2, R, G], by the ridge that makes each system solvable."""
    planes, weights = trits.double(), counts.double()
    gram = torch.einsum("arg,brg,rg->rab", planes, planes, weights)
    against = torch.einsum("arg,rg,rg->ra", planes, rows.double(), weights)
    ridge = torch.full((len(rows),), LEAST_RIDGE, dtype=torch.float64)
    while True:
        first, second = gram[:, 0, 0] + ridge, gram[:, 1, 1] + ridge
        crossed = gram[:, 0, 1]
        determinant = first * second - crossed.square()
        condition = (first.square() + second.square() + 2 * crossed.square()) / determinant
        bad = ~(condition <= MOST_CONDITION) & (ridge < MOST_RIDGE)
        if not bad.any():
            break
        ridge = torch.where(bad, ridge * 10, ridge)
    one = second * against[:, 0] - crossed * against[:, 1]
    other = first * against[:, 1] - crossed * against[:, 0]
    return (torch.stack([one, other], 1) / determinant[:, None]).float()


def _nearest(rows: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The trits [2, R, G], int8, whose value is nearest to each of ``rows`` [R, G] at ``scale`` [R, 2]."""
    least, chosen = rows.square(), torch.zeros_like(rows, dtype=torch.long)
    for index, pair in enumerate(PAIRS[1:], 1):
        value = scale @ torch.tensor(pair, dtype=scale.dtype)
        error = (rows - value[:, None]).square()
        better = error < least
        least, chosen = torch.where(better, error, least), chosen.masked_fill(better, index)
    return torch.tensor(PAIRS, dtype=torch.int8).T[:, chosen]


def _codes(rows: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    safe = torch.where(step > SMALLEST_SCALE, step, torch.ones_like(step))
    return torch.round(rows / safe[:, None]).clamp(-4, 4)


def _shortened(step: torch.Tensor) -> torch.Tensor:
    """``step`` less its last two binary digits, so that 3 x step is a float32 number and planes add up exactly."""
    return (step.contiguous().view(torch.int32) & -4).view(torch.float32)


def _shares(importance: torch.Tensor, block: int) -> torch.Tensor:
    """Importance [C] as counts [B, G] whose mean in a block is 1, so that a ridge means the same in all."""
    runs = importance.detach().float().reshape(-1, block)
    mean = runs.mean(1, keepdim=True)
    return torch.where(mean > 0, runs / mean.clamp(min=SMALLEST_SCALE), torch.ones_like(runs))
