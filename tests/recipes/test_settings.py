"""A recipe's own options, written behind its name."""

from typing import NamedTuple

import pytest

from edge_mpq import recipes
from edge_mpq.errors import UsageError
from edge_mpq.recipes._settings import settings_of, spoken
from edge_mpq.reconstruction import AXES
from edge_mpq.reconstruction import Options as Axes
from edge_mpq.rounding import slim
from tests.laws.test_recipes import task


class Inner(NamedTuple):
    seed: int = 0
    share: float = 0.5
    flags: tuple[bool, ...] = (True,)


class Outer(NamedTuple):
    name: str = "plain"
    inner: Inner = Inner()


def recipe(task, progress=None, epochs: int | None = None, outer: Outer = Outer(), told: dict[str, str] | None = None):  # noqa: B008
    """What :func:`spoken` is tried on."""


def test_settings_are_the_arguments_and_the_fields_in_them_that_a_word_can_say():
    found = settings_of(recipe)
    assert {name: setting.path for name, setting in found.items()} == {
        "epochs": ("epochs",),
        "name": ("outer", "name"),
        "share": ("outer", "inner", "share"),
        "flags": ("outer", "inner", "flags"),
    }
    assert {name: setting.written for name, setting in found.items()} == {
        "epochs": "",
        "name": "plain",
        "share": "0.5",
        "flags": "true",
    }


def test_what_is_not_said_stays_as_it_was():
    said = spoken("toy", recipe, "share=0.25,flags=false+true,epochs=3")
    assert said == {"epochs": 3, "outer": Outer(inner=Inner(share=0.25, flags=(False, True)))}
    assert spoken("toy", recipe, "name=fine") == {"outer": Outer(name="fine")}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("epochs=ten", "epochs=ten: no whole number"),
        ("epochs=0", "epochs=0: less than one"),
        ("epochs=", "epochs=: nothing is said"),
        ("share=nan", "share=nan: not a number from zero on"),
        ("share=-1", "share=-1: not a number from zero on"),
        ("flags=true+yes", "flags=true.yes: neither true nor false"),
        ("epochs=1,epochs=2", "epochs is said twice"),
        ("seed=3", "'seed=3' sets nothing of it"),
        ("told=a", "'told=a' sets nothing of it"),
        ("epochs", "'epochs' sets nothing of it"),
        ("", "'' sets nothing of it"),
        (
            "epochs=x,share=y",
            "no whole number; share=y: no number; write toy:KEY=VALUE,KEY=VALUE of epochs=, name=plain",
        ),
    ],
)
def test_every_fault_is_told_with_what_there_is(words, told):
    with pytest.raises(UsageError, match=told):
        spoken("toy", recipe, words)


@pytest.mark.parametrize("name", recipes.names())
def test_every_setting_of_every_recipe_can_be_said_as_it_is(name):
    module = recipes.get(name)
    for key, setting in settings_of(module.run).items():
        # Whatever has a default takes it as a word.
        if setting.written:
            said = spoken(name, module.run, f"{key}={setting.written}")
            value = said[setting.path[0]]
            for field in setting.path[1:]:
                value = getattr(value, field)
            assert value == setting.default and type(value) is type(setting.default)


def test_the_axes_of_gradient_based_ptq_and_of_slim_llm_are_settings():
    assert set(AXES) <= set(settings_of(recipes.get("gradient_ptq").run))
    for name in ("slim_llm", "slim_llm_plus"):
        assert set(slim.Options._fields) <= set(settings_of(recipes.get(name).run))
    with pytest.raises(UsageError, match="recipe uniform: 'unit=block' sets nothing of it; it has no settings"):
        recipes.get("uniform:unit=block")


def test_a_recipe_runs_with_its_settings():
    settled = recipes.get("gradient_ptq:unit=block,iterations=2,dof=rounding+scale")
    assert settled.PAPER == recipes.get("gradient_ptq").PAPER
    assert settled.run.keywords == {"options": Axes(unit="block", iterations=2, dof=("rounding", "scale"))}
    assert settled.run(task()).deployable
    powers = recipes.get("gradient_ptq:grid=power,iterations=2").run(task())
    assert not powers.deployable and "no engine" in powers.note
    with pytest.raises(UsageError, match="unit 'model' is none of layer, block"):
        recipes.get("gradient_ptq:unit=model").run(task())
    with pytest.raises(UsageError, match="no trit planes are called 'loose'"):
        recipes.get("ptqtp:variant=loose").run(task())
    with pytest.raises(UsageError, match="a distillation of 2.0 is no share"):
        recipes.get("wildfire:distillation=2").run(task())
