"""A policy that learns by reward: what it finds, when it learns and what its entropy does."""

import functools
import itertools
import math

import pytest
import torch

from edge_mpq.errors import UsageError
from edge_mpq.training.policy import LEAST_PROBABILITY, REWARDS, SCHEDULES, Options, Policy

# A bandit with separable harms: rows are decisions, columns choices from wide to narrow.
HARM = torch.tensor([[0.0, 0.4, 1.2], [0.0, 0.02, 0.05], [0.0, 0.3, 0.8], [0.0, 0.01, 0.9]])
COST = torch.tensor([[8.0, 6.0, 4.0], [24.0, 18.0, 12.0], [8.0, 6.0, 4.0], [16.0, 12.0, 8.0]])
BUDGET = 40.0
SEEDS, ENTROPIES = (0, 1, 2), (0.0, 0.1, 0.5)
RUNS = [(0, 0.0), (0, 0.1), *((seed, 0.5) for seed in SEEDS)]


def outcome(chosen) -> tuple[float, float]:
    """The loss of choices, and their cost as a share of the budget."""
    rows = torch.arange(len(HARM))
    return HARM[rows, chosen].sum().item(), COST[rows, chosen].sum().item() / BUDGET


@functools.cache
def played(seed: int, entropy: float, cost_weight: float = 3.0, sign: float = 1.0, steps: int = 1600) -> Policy:
    policy = Policy([3] * len(HARM), steps, Options(entropy=entropy, cost_weight=cost_weight), seed)
    for _ in range(steps):
        chosen = policy.sample()
        policy.learn(chosen, sign * REWARDS["tunas_abs"](*outcome(chosen), cost_weight))
    return policy


def best(cost_weight: float = 3.0) -> list[int]:
    every = itertools.product(range(3), repeat=len(HARM))
    worth = {a: REWARDS["tunas_abs"](*outcome(torch.tensor(a)), cost_weight) for a in every}
    return list(max(worth, key=lambda a: worth[a]))


def settled(policy: Policy) -> list[int]:
    return policy.probabilities().argmax(1).tolist()


@pytest.mark.parametrize(("seed", "entropy"), RUNS)
def test_it_finds_the_best_of_all_choices(seed, entropy):
    assert settled(played(seed, entropy)) == best()


def test_the_best_is_no_corner_and_a_wrong_sign_of_the_reward_misses_it():
    assert len(set(best())) > 1
    assert best() != best(cost_weight=0.0)
    assert settled(played(0, 0.5, sign=-1.0, steps=400)) != best()


def test_it_keeps_the_budget_and_without_a_weight_of_the_cost_does_not():
    for seed in SEEDS:
        assert abs(outcome(torch.tensor(settled(played(seed, 0.5))))[1] - 1) < 0.06
    assert outcome(torch.tensor(settled(played(0, 0.5, cost_weight=0.0, steps=400))))[1] > 1.2


def test_a_greater_penalty_leaves_less_entropy():
    none, some, much = (played(0, entropy).entropy() for entropy in ENTROPIES)
    assert none > 1.2 * some and some > 1.5 * much


def test_without_advantage_the_entropy_falls_by_the_penalty_and_only_by_it():
    def ended(entropy: float) -> float:
        policy = Policy([2, 2], 100, Options(entropy=entropy, delay=0.0))
        policy.logits.data[:] = torch.tensor([[0.1, 0.0], [0.0, 0.3]])  # at uniform it would stand on a ridge
        before = policy.entropy()
        for _ in range(100):
            policy.learn(policy.sample(), -1.0)  # always as on average
        return policy.entropy() - before

    assert ended(0.5) < -0.1
    assert ended(0.0) == 0


def test_during_the_delay_choices_are_uniform_and_nothing_is_learned():
    policy = Policy([2, 3, 1], 4000, Options(delay=0.75))
    counts = torch.zeros(3, 3)
    for _ in range(3000):
        chosen = policy.sample()
        counts[torch.arange(3), chosen] += 1
        policy.learn(chosen, float(chosen[0]))
        assert not policy.logits.any() and policy.penalty() == 0
    expected = torch.tensor([[1500, 1500, 0], [1000, 1000, 1000], [3000, 0, 0]])
    assert (counts - expected).abs().max() < 4 * math.sqrt(3000 / 4)
    assert policy.average == pytest.approx(0.5, abs=0.2)
    policy.learn(policy.sample(), 1.0)
    assert policy.logits.any()


def test_choices_that_are_not_there_are_never_drawn():
    policy = Policy([1, 3], 400, Options(delay=0.1))
    for _ in range(400):
        chosen = policy.sample()
        assert chosen[0] == 0
        policy.learn(chosen, float(chosen[1]))
    held = policy.probabilities()
    assert held[0].tolist() == [1, 0, 0] and held[1].argmax() == 2
    assert held[1].min() > LEAST_PROBABILITY / 2 and torch.isfinite(policy.logits).all()


def test_the_same_seed_draws_the_same():
    def drawn(seed: int) -> list:
        policy = Policy([4] * 8, 100, seed=seed)
        return [policy.sample().tolist() for _ in range(3)]

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_falls_with_the_loss_and_with_cost_beyond_the_budget(name):
    reward = REWARDS[name]
    assert reward(0.5, 1.0, 1.0) > reward(0.6, 1.0, 1.0)
    assert reward(0.5, 1.0, 1.0) > reward(0.5, 1.1, 1.0) > reward(0.5, 2.0, 1.0)
    assert reward(0.5, 1.1, 1.0) > reward(0.5, 1.1, 2.0)
    assert reward(0.5, 2.0, 0.0) == reward(0.5, 1.0, 1.0)


def test_rewards_differ_in_what_they_say_below_the_budget():
    below = {name: reward(0.5, 0.8, 1.0) - reward(0.5, 1.0, 1.0) for name, reward in REWARDS.items()}
    assert below["tunas_abs"] == pytest.approx(-0.2)
    assert below["one_sided"] == below["hard_exp"] == 0
    assert below["soft_exp"] == pytest.approx(0.25 * math.exp(-0.5))


@pytest.mark.parametrize(
    ("name", "start", "quarter", "end"),
    [("cosine", 0, (1 - math.sqrt(0.5)) / 2, 1), ("linear", 0, 0.25, 1), ("constant", 1, 1, 1), ("heaviside", 0, 0, 1)],
)
def test_the_penalty_follows_its_schedule_after_the_delay(name, start, quarter, end):
    assert list(SCHEDULES) == ["cosine", "linear", "constant", "heaviside"]
    policy = Policy([2], 1000, Options(schedule=name, entropy=0.5, delay=0.2))
    seen = []
    for step in (199, 200, 400, 1000):
        policy.step = step
        seen.append(policy.penalty())
    assert seen == pytest.approx([0, 0.5 * start, 0.5 * quarter, 0.5 * end])


def test_every_wrong_option_is_named():
    wrong = Options(reward="best", schedule="sine", delay=1.0, memory=1.0, entropy=-1.0)
    with pytest.raises(UsageError) as caught:
        Policy([2], 10, wrong)
    for part in ("'best' is none of tunas_abs", "'sine' is none of cosine", "delay of 1.0", "memory of 1.0", "entropy"):
        assert part in str(caught.value)
