"""FLIQS: formats and weights in one training, which a policy steers by loss and cost.

See edge_mpq.training.fliqs.  What a layer may draw are the pairs of the target's menu, so that
on a real target only what deploys is searched: weights alone where activations have one format,
both at once (``fp8``, ``fp4``) on ``simulation``.  With ``widths`` it searches how many channels
layers keep beside their formats, and the graph that comes out is narrower; the paper's space of
architectures, and its ImageNet settings, came from a closed code base and could not be read.
"""

import math
from collections.abc import Sequence

from edge_mpq import budget as budgets
from edge_mpq import menu as menus
from edge_mpq import simulation
from edge_mpq.errors import PlanError
from edge_mpq.layers import layers_of
from edge_mpq.planning import cost_tables, predict, ties_of
from edge_mpq.progress import Progress, silent
from edge_mpq.recipes import Outcome, Task
from edge_mpq.records.layer import fingerprint
from edge_mpq.records.plan import Choice, PrecisionPlan
from edge_mpq.training import fliqs, loop
from edge_mpq.training.policy import Options

PAPER = (
    "Dotzel et al., FLIQS: One-Shot Mixed-Precision Floating-Point and Integer Quantization Search, "
    "AutoML 2024, arXiv 2308.03290"
)
# Epochs; where they are short, as many as make so many steps, or the policy learns nothing.
EPOCHS, STEPS = 8, 96
LEARNING_RATE = 2e-3


def run(
    task: Task,
    progress: Progress = silent,
    epochs: int | None = None,
    learning_rate: float = LEARNING_RATE,
    options: Options = Options(),  # noqa: B008  immutable
    widths: Sequence[float] = (),
) -> Outcome:
    """The recipe; see the family's contract.

    widths: shares of its output channels that a layer may keep (1.0, 0.75, 0.5), none to keep all.
    A budget is that of the model as it was given: ``size<=3bits`` is three bits for each weight it
    had.  Raises PlanError without training batches, for a budget of accuracy, and with ``widths`` for
    one of latency, which is not in proportion to channels.
    """
    if task.training is None:
        raise PlanError("fliqs searches while it trains, and there are no labelled batches", "give training data")
    wanted = budgets.of_costs(task.budget, "fliqs")
    if widths and any(term.quantity == "latency" for term in wanted.terms):
        raise PlanError(f"budget {wanted} speaks of latency, which no width foretells", "give a size or bitops")
    layers = layers_of(task.graph)
    menu = menus.menu_of(layers, task.target, task.formats)
    tables = cost_tables(layers, menu, task.target)
    found = fliqs.search(
        task.graph,
        task.target,
        menu,
        budgets.limits(wanted, layers, tables),
        ties_of(layers),
        task.calibration,
        task.training,
        epochs or max(EPOCHS, math.ceil(STEPS / loop.steps_of(task.training))),
        learning_rate,
        options,
        task.seed,
        progress,
        widths=widths,
    )
    if widths:
        layers = layers_of(found.graph)
        tables = cost_tables(layers, menu, task.target)
    choices = {name: Choice(*pair, why=_why(found, name)) for name, pair in found.choices.items()}
    made = PrecisionPlan(fingerprint(layers), task.target.name, choices, str(wanted), allocator="fliqs")
    none = {name: dict.fromkeys(pairs, 0.0) for name, pairs in menu.items()}
    predicted = predict(made, layers, tables, none)
    made = made._replace(predicted={name: value for name, value in predicted.items() if name != "harm"})
    quantized = simulation.simulate(found.graph, made, task.target, found.ranges)
    if task.target.scheme.weights == "integer":
        simulation.round_biases(quantized)
    return Outcome(made, found.graph, quantized, found.ranges)


def _why(found: fliqs.Found, name: str) -> str:
    """What the policy made of a layer's formats, and of its width."""
    why = f"probability {found.probabilities[name][found.choices[name]]:.2g} when the policy settled"
    if name in found.widths:
        share, reason = found.widths[name]
        why += f"; keeps {100 * share:.3g} % of its channels: {reason}"
    return why
