"""What a whole plan does to a model: the one place where searches try plans out, and count them.

The same plan is never tried twice: answers are kept by its choices.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import fx
from torch.nn import functional

from edge_mpq.allocators import Loss
from edge_mpq.calibration import inputs_of, labels_of
from edge_mpq.cost import Pair
from edge_mpq.errors import CalibrationError
from edge_mpq.layers import layers_of
from edge_mpq.records.layer import fingerprint
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.records.ranges import RangeTable
from edge_mpq.records.target import Target
from edge_mpq.sensitivity import kl
from edge_mpq.simulation import simulate


class Evaluation(NamedTuple):
    """What one model did on the batches.

    kl: divergence from the float model's answers, nats a picture.  loss: cross entropy with
    the labels, None without labels.  right: share of pictures or pixels right, likewise.
    """

    kl: float
    loss: float | None
    right: float | None


class Evaluator:
    """Tries plans of one graph on the same batches, by simulation with nearest rounding.

    batches: of inputs [N, ...] or (inputs, labels), read once for each trial.  calls counts the
    plans that were really run.  Raises CalibrationError without a batch.
    """

    def __init__(self, graph: fx.GraphModule, target: Target, ranges: RangeTable, batches: Iterable):
        self.graph, self.target, self.ranges = graph, target, ranges
        self.batches = list(batches)
        if not self.batches:
            raise CalibrationError("there is no picture to try plans on", "give batches of pictures")
        self.calls = 0
        self._model = fingerprint(layers_of(graph))
        self._known: dict[tuple[tuple[str, Pair], ...], Evaluation] = {}
        with torch.no_grad():
            self._float = [graph(inputs_of(batch)) for batch in self.batches]

    def __call__(self, choices: Mapping[str, Pair]) -> Evaluation:
        """The evaluation of a plan that gives each layer its pair."""
        key = tuple((name, (pair[0], pair[1])) for name, pair in choices.items())
        if key not in self._known:
            made = PrecisionPlan(self._model, self.target.name, {name: Choice(*pair) for name, pair in key})
            self.calls += 1
            self._known[key] = self.of(simulate(self.graph, made, self.target, self.ranges))
        return self._known[key]

    @torch.no_grad()
    def of(self, model: torch.nn.Module) -> Evaluation:
        """The evaluation of any model that takes the same inputs; it counts as no call."""
        divergence = loss = 0.0
        right = seen = labelled = 0
        for batch, known in zip(self.batches, self._float, strict=True):
            answers, labels = model(inputs_of(batch)), labels_of(batch)
            divergence += kl.divergence(known, answers) * len(answers)
            seen += len(answers)
            if labels is None:
                continue
            places = labels.numel()
            if answers.shape[1] == 1:
                loss += functional.binary_cross_entropy_with_logits(
                    answers.reshape(labels.shape), labels.float(), reduction="sum"
                ).item()
                top = (answers > 0).long()
            else:
                loss += functional.cross_entropy(answers, labels, reduction="sum").item()
                top = answers.argmax(1)
            right += int((top.reshape(labels.shape) == labels).sum())
            labelled += places
        if not labelled:
            return Evaluation(divergence / seen, None, None)
        return Evaluation(divergence / seen, loss / labelled, right / labelled)

    def harm(self) -> Loss:
        """What allocators ask: the divergence of a plan, as a function of its choices."""
        return lambda choices: self(choices).kl
