"""The power modes of a Jetson: taken one after the other with nvpmodel, and the one before restored."""

import os

from apps import doctor_facts
from edge_mpq.errors import EngineError, UsageError


def asked(names, root="/", ask=doctor_facts.ask, is_root=None):
    """[(number, name)] of the power modes called ``names``, by name or number; [] for no names.

    Raises UsageError where there are no such modes, EngineError where they may not be changed.
    """
    if not names:
        return []
    now, modes = doctor_facts.power_modes(root, ask)
    if not modes:
        raise UsageError("there are no power modes on this machine", "leave --power-mode out; it is of a Jetson")
    found = {str(number): (number, name) for number, name in modes.items()}
    found.update({name: (number, name) for number, name in modes.items()})
    unknown = [name for name in names if name not in found]
    if unknown:
        there = ", ".join("{} ({})".format(name, number) for number, name in sorted(modes.items()))
        raise UsageError("there is no power mode {}".format(", ".join(map(repr, unknown))), "there are " + there)
    if not (os.geteuid() == 0 if is_root is None else is_root):
        raise EngineError("only root may change the power mode", "run it with sudo, or leave --power-mode out")
    if now not in modes.values():
        raise EngineError("which power mode there is now is not told", "set it once with nvpmodel -m: it is restored")
    return list(dict.fromkeys(found[name] for name in names))


class PowerModes(object):
    """In a ``with`` block :meth:`take` sets a mode; at its end the one before is set again, Ctrl-C or not."""

    def __init__(self, root="/", ask=doctor_facts.ask):
        self._root, self._ask, self._before = root, ask, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._before is not None:
            before, self._before = self._before, None
            self._set(*before)

    def take(self, number, name):
        """Set mode ``number``, called ``name``; EngineError where the board does not take it at once."""
        now, modes = doctor_facts.power_modes(self._root, self._ask)
        if now == name:
            return
        if self._before is None:
            # Before the change is begun: it may be interrupted half done.
            self._before = next((one, told) for one, told in modes.items() if told == now)
        self._set(number, name)

    def _set(self, number, name):
        # A mode that wants a reboot asks for it, and gets no answer: nothing is typed in.
        done = self._ask(["nvpmodel", "-m", str(number)])
        now, _ = doctor_facts.power_modes(self._root, self._ask)
        if done.code != 0 or now != name:
            reason = " ".join((done.err or done.out).split())[-200:] or "no reason given"
            what = "the board does not change to power mode {} ({}), it is in {!r}".format(name, reason, now)
            raise EngineError(what, "a mode may want a reboot: set it with nvpmodel -m {}, then measure".format(number))
