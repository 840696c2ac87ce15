"""The engines of a bundle, one of which answers; which one may change between two frames.

An engine is opened, and built where it has to be, when it is first asked for, and then
kept.  One that fails is told of, and the one that ran goes on.
"""

import sys
import traceback

import numpy as np

from apps.stream import decode
from apps.stream.engine_from_bundle import ROLES
from edge_mpq.engines import inputs
from edge_mpq.errors import EdgeMpqError


class Switch(object):
    """open_role: (role, say) -> opened Engine, ``say`` being told what is built.  bundle: gives the roles there are.

    role: of the engine that answers; None before the first :meth:`turn`.  asked: of the one
    that is to.  opening: of the one that is being opened, or None; told: what was said of it
    last.  faults: role -> why it does not open.  Threads other than the loop's only read, and call :meth:`ask`.
    """

    def __init__(self, open_role, bundle, first, say=lambda line: None):
        self._open_role, self._bundle, self._say = open_role, bundle, say
        self._recipe = inputs.from_json(bundle.recipe)
        self._engines = {}
        self.names = {role: name for role, name in ROLES if role in bundle.files or role == first}
        self.role, self.asked, self.opening = None, first, None
        self.told, self.faults = "", {}

    def ask(self, role):
        """Let ``role`` answer from the next frame on; whether there is such an engine."""
        if role not in self.names:
            return False
        self.asked = role
        return True

    def turn(self):
        """The Engine for the next frame.  Raises what opening does where no other engine can go on."""
        asked = self.asked
        if asked != self.role:
            try:
                self._open(asked)
                self.role = asked
                self.faults.pop(asked, None)
            except Exception as error:  # whatever it is, a camera does not stop over an engine it can do without
                if self.role is None:
                    raise
                self.faults[asked] = str(error) or type(error).__name__
                if not isinstance(error, EdgeMpqError):
                    traceback.print_exc(file=sys.stderr)
                if self.asked == asked:
                    self.asked = self.role
        return self._engines[self.role]

    def opened(self, role):
        """The Engine of ``role`` where it is open, or None."""
        return self._engines.get(role)

    def close(self):
        """Close all engines; twice is harmless."""
        while self._engines:
            self._engines.popitem()[1].close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _open(self, role):
        if role in self._engines:
            return
        self.told, self.opening = "", role
        try:
            engine = self._open_role(role, self._tell)
            try:
                if self.role is not None:
                    self._try(engine)
            except BaseException:
                engine.close()
                raise
            self._engines[role] = engine
        finally:
            self.opening = None

    def _tell(self, line):
        self.told = line
        self._say(line)

    def _try(self, engine):
        """Answer one black frame: an engine that cannot is refused, and its slow first call is over."""
        shape = (1, 3, self._recipe.height, self._recipe.width)
        decode.decode(engine, engine.infer(np.zeros(shape, np.float32)), self._bundle, self._recipe)
