"""A policy over discrete choices that REINFORCE improves while a model trains with what it draws.

Dotzel et al., FLIQS: One-Shot Mixed-Precision Floating-Point and Integer Quantization Search,
arXiv 2308.03290: independent logits for every decision, no controller network.  A step is

    a ~ p,  R = reward(loss, cost),  advantage = R - average of R
    minimize  -advantage * mean log p(a) + beta * mean H(p)

by Adam.  The entropy H is a penalty: beta rises, the policy settles, and the last part of the
training runs on formats that hardly change.  During the delay choices are drawn uniformly and
nothing is learned but the average, so that the weights meet all formats first.

Of ours: the average begins at the first reward instead of zero; the exponential rewards, which
need a quality above zero, take exp(-loss); and the paper's rate of 0.005 and memory of 0.99 are
taken as those of ``RUN`` steps, and follow the length of the run.  Adam moves a logit by little
more than its rate a step, so a short run would never settle, and while the average lags behind
a loss that falls, whatever is drawn seems good.

Axis letters: D decisions, P choices of a decision.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from edge_mpq.errors import UsageError

LEAST_PROBABILITY = 1e-8
RUN = 2000

# (loss, cost as a share of the budget, weight of the cost above zero) -> reward.
REWARDS: dict[str, Callable[[float, float, float], float]] = {
    "tunas_abs": lambda loss, share, weight: -loss - weight * abs(1 - share),
    "one_sided": lambda loss, share, weight: -loss - weight * abs(1 - max(1.0, share)),
    "soft_exp": lambda loss, share, weight: math.exp(-loss) * share**-weight,
    "hard_exp": lambda loss, share, weight: math.exp(-loss) * max(1.0, share) ** -weight,
}
# Share of the learning steps that is done -> share of the greatest entropy penalty.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: (1 - math.cos(math.pi * done)) / 2,
    "linear": lambda done: done,
    "constant": lambda done: 1.0,
    "heaviside": lambda done: float(done >= 0.5),
}


class Options(NamedTuple):
    """How a policy learns.

    reward: of ``REWARDS``; cost_weight: of the cost in it.  schedule: of ``SCHEDULES``; entropy:
    the greatest penalty on it.  delay: first share of the steps, in which nothing is learned.
    rate, memory: of logits and of what the average keeps at each step, in a run of ``RUN`` steps.
    temperature: divides the logits.
    """

    reward: str = "tunas_abs"
    cost_weight: float = 1.0
    schedule: str = "cosine"
    entropy: float = 0.5
    delay: float = 0.25
    rate: float = 0.005
    memory: float = 0.99
    temperature: float = 1.0


def checked(options: Options) -> Options:
    """``options``, or UsageError naming every value there is not."""
    faults = []
    if options.reward not in REWARDS:
        faults.append(f"reward {options.reward!r} is none of {', '.join(REWARDS)}")
    if options.schedule not in SCHEDULES:
        faults.append(f"schedule {options.schedule!r} is none of {', '.join(SCHEDULES)}")
    if not 0 <= options.delay < 1:
        faults.append(f"a delay of {options.delay} leaves no step to learn in")
    if not 0 <= options.memory < 1:
        faults.append(f"a memory of {options.memory} forgets nothing")
    if options.cost_weight < 0 or options.entropy < 0 or options.temperature <= 0:
        faults.append("cost_weight and entropy must not be below zero, and temperature above it")
    if faults:
        raise UsageError("; ".join(faults), "see edge_mpq.training.policy.Options")
    return options


class Policy:
    """Draws one choice for each decision, and learns from rewards.

    counts: [D] choices of each decision.  steps: of the whole run, delay included.  seed: of
    all it draws.  UsageError for options that there are not.
    """

    def __init__(self, counts: Sequence[int], steps: int, options: Options = Options(), seed: int = 0):  # noqa: B008
        self.options, self.steps, self.step = checked(options), steps, 0
        self.delay = math.ceil(options.delay * steps)
        self.draw = torch.Generator().manual_seed(seed)
        self.there = torch.arange(max(counts)) < torch.tensor(counts).unsqueeze(1)
        self.logits = torch.zeros(self.there.shape, requires_grad=True)
        self.optimizer = torch.optim.Adam([self.logits], lr=options.rate * RUN / steps)
        self.memory = options.memory ** (RUN / steps)
        self.average: float | None = None

    def probabilities(self) -> torch.Tensor:
        """What the policy would draw: [D, P], zero where a decision has fewer choices."""
        held = (self.logits / self.options.temperature).masked_fill(~self.there, -torch.inf).softmax(1)
        held = held.clamp(min=LEAST_PROBABILITY) * self.there
        return held / held.sum(1, keepdim=True)

    @torch.no_grad()
    def entropy(self) -> float:
        """Mean over decisions, nats."""
        return self._entropy(self.probabilities()).item()

    @torch.no_grad()
    def sample(self) -> torch.Tensor:
        """Choices [D]: uniform during the delay, of the policy afterwards."""
        weights = self.there.float() if self.step < self.delay else self.probabilities()
        return torch.multinomial(weights, 1, generator=self.draw).squeeze(1)

    def learn(self, chosen: torch.Tensor, reward: float) -> None:
        """Take in what ``chosen`` [D] was worth; one step of the run."""
        kept = self.memory
        self.average = reward if self.average is None else kept * self.average + (1 - kept) * reward
        if self.step >= self.delay:
            with torch.enable_grad():
                held = self.probabilities()
                taken = held.gather(1, chosen.unsqueeze(1)).log().mean()
                loss = -(reward - self.average) * taken + self.penalty() * self._entropy(held)
                self.optimizer.zero_grad()
                loss.backward()
            self.optimizer.step()
        self.step += 1

    def penalty(self) -> float:
        """The weight of the entropy now."""
        if self.step < self.delay:
            return 0.0
        done = (self.step - self.delay) / max(1, self.steps - self.delay)
        return self.options.entropy * SCHEDULES[self.options.schedule](done)

    def _entropy(self, held: torch.Tensor) -> torch.Tensor:
        return -torch.xlogy(held, held.clamp(min=LEAST_PROBABILITY / 2)).sum(1).mean()
