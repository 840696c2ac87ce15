"""The training loop: what it promises of any model, loss and precision."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from edge_mpq.errors import DataError, ModelError, UsageError
from edge_mpq.training import amp, loop
from edge_mpq.training.log import Epoch
from tests import toys
from tests.training.learning import EPOCHS, STEPS, Noisy, batches, fitted, made, plain


def _same(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def _timeless(log: list[Epoch]) -> list[Epoch]:
    return [epoch._replace(seconds=0.0) for epoch in log]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(precision: str) -> None:
    one, two, other = made(), made(), made()
    logs = []
    for model, seed in ((one, 1), (two, 1), (other, 2)):
        made(seed=seed)  # leaves the generators at the seed
        logs.append(_timeless(fitted(model, precision=precision)))
    assert _same(one, two) and logs[0] == logs[1]
    assert not _same(one, other) and logs[0] != logs[2]


def test_it_learns_and_tells_so() -> None:
    model = made(plain)
    log = loop.fit(model, batches, 20, learning_rate=2e-2)
    assert len(log) == 20 and log[-1].loss < 0.5 * log[0].loss and log[-1].right > 0.8
    assert all(epoch.seconds > 0 and epoch.overflows == 0 for epoch in log)
    assert not model.training and model[0].weight.is_contiguous()


def test_a_float_run_is_plain_adamw_with_one_cycle() -> None:
    model, mine = made(plain), made(plain)
    fitted(mine)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=EPOCHS * STEPS)
    for epoch in range(EPOCHS):
        for inputs, labels in batches(epoch):
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
            schedule.step()
    for name, value in mine.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], atol=1e-5, rtol=1e-4)


def test_bf16_runs_in_bf16_and_fp16_scales_the_loss() -> None:
    kinds = set()

    class Seeing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = plain()

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            scores = self.inside(pictures)
            kinds.add(scores.dtype)
            return scores

    scales = [fitted(made(Seeing), precision=name)[-1].loss_scale for name in ("bf16", "fp16", "fp32")]
    assert kinds == {torch.bfloat16, torch.float16, torch.float32}
    assert scales[0] == scales[2] == 1 and scales[1] > 1


def test_an_overflow_is_counted_skipped_and_halves_the_scale() -> None:
    start = made(plain)
    before = [value.clone() for value in start.parameters()]

    def steep(outputs: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return 1e4 * loop.classification(outputs, inputs, labels)

    first = batches(0)[0]
    log = loop.fit(start, lambda epoch: [first], 2, precision="fp16", loss=steep)
    assert log[0].overflows == log[1].overflows == 1 and log[1].loss_scale == 65536 / 4
    assert all(torch.equal(value, now) for value, now in zip(before, start.parameters(), strict=True))


def test_auto_is_a_type_the_device_has() -> None:
    assert amp.precision(torch.device("cpu")) in (torch.float32, torch.bfloat16)
    assert amp.precision(torch.device("cuda")) == torch.float16
    with pytest.raises(UsageError, match="no precision 'int8'; choose one of auto, fp32, bf16, fp16"):
        amp.precision(torch.device("cpu"), "int8")


@pytest.mark.parametrize("logits", [1, 3])
def test_class_maps_are_learned(logits: int) -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(3, logits, 1)
    inputs = toys.pictures(16)
    maps = (inputs[:, 0] > 0).long() if logits == 1 else inputs.argmax(1)
    log = loop.fit(model, lambda epoch: [(inputs, maps)], 60, learning_rate=0.3)
    assert log[-1].right > 0.95 > 0.7 > log[0].right


def test_the_hooks_are_called_where_they_say() -> None:
    seen: list[tuple[str, int]] = []
    model = made(plain)

    def note(what: str):
        def hook(count: int, given: nn.Module) -> None:
            assert given is model
            seen.append((what, count))

        return hook

    fitted(model, before_epoch=note("epoch"), after_step=note("step"))
    assert seen[: STEPS + 2] == [("epoch", 0), *(("step", k + 1) for k in range(STEPS)), ("epoch", 1)]
    assert seen[-1] == ("step", EPOCHS * STEPS)


def test_a_model_decides_the_groups_of_its_parameters() -> None:
    class Grouped(Noisy):
        def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict]:
            head = list(self.head.parameters())
            rest = [value for name, value in self.named_parameters() if not name.startswith("head.")]
            return [
                {"params": rest, "lr": learning_rate, "weight_decay": weight_decay},
                {"params": head, "lr": 0.0, "weight_decay": 0.0},
            ]

    model, start = made(Grouped), made(Grouped)
    fitted(model)
    assert torch.equal(model.head.weight, start.head.weight)
    assert not torch.equal(model.stem[0].weight, start.stem[0].weight)


def test_a_loss_that_is_not_finite_stops() -> None:
    with pytest.raises(ModelError, match="the loss is nan in epoch 0; lower the learning rate"):
        fitted(made(plain), loss=lambda outputs, inputs, labels: outputs.sum() * float("nan"))


@pytest.mark.parametrize(
    ("counts", "told"),
    [([0], "no batch to train on"), ([2, 3], "more than 2 batches"), ([2, 1], "epoch 1 has 1 batches, not 2")],
)
def test_epochs_of_unlike_length_are_refused(counts: list[int], told: str) -> None:
    with pytest.raises(DataError, match=told):
        loop.fit(made(plain), lambda epoch: batches(0)[: counts[epoch]], 2)
