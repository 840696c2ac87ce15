"""SliM-LLM+: bits by salience within layers, and ends of blocks that are learned in place of error feedback.

As edge_mpq.recipes.slim_llm, with edge_mpq.rounding.learned_clipping for its rounding.
"""

from edge_mpq.progress import Progress, silent
from edge_mpq.recipes import Outcome, Task
from edge_mpq.recipes.slim_llm import PAPER as SLIM
from edge_mpq.recipes.slim_llm import rounded
from edge_mpq.rounding.learned_clipping import Rule

PAPER = SLIM + " (SliM-LLM+), over Shao et al., OmniQuant, ICLR 2024, arXiv 2308.13137"


def run(task: Task, progress: Progress = silent, rule: Rule = Rule()) -> Outcome:  # noqa: B008  immutable
    """The recipe; see the family's contract, and edge_mpq.rounding.learned_clipping for the options of ``rule``."""
    if task.target.backend == "tensorrt":
        rule = rule._replace(options=rule.options._replace(allocates=False))
    return rounded(task, rule, progress)
