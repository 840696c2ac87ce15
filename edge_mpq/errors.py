"""The error tree, drawn once.

Every error says what was asked, what is there, and the mend.  The launcher turns
any of these into one line on stderr and exit code 2; anything else that escapes is
a fault of this program and keeps its traceback.
"""


class EdgeMpqError(Exception):
    """Base of all errors a user can cause and mend.

    ``what`` says what was asked and what is there; ``mend`` what to do about it.
    """

    def __init__(self, what, mend=""):
        super(EdgeMpqError, self).__init__(what, mend)
        self.what = what
        self.mend = mend

    def __str__(self):
        return "{}; {}".format(self.what, self.mend) if self.mend else self.what


class UsageError(EdgeMpqError):
    """A command line that cannot be understood."""


class ModelError(EdgeMpqError):
    """A model that cannot be found, loaded or traced, or whose weights are not finite."""


class DataError(EdgeMpqError):
    """Pictures or labels that are missing, empty or unreadable."""


class RecordError(EdgeMpqError):
    """A JSON record that is torn, of another kind, or of a version not known here."""


class TargetError(EdgeMpqError):
    """A target that does not exist or cannot do what was asked."""


class PlanError(EdgeMpqError):
    """A precision plan that does not fit its model, target or budget."""


class CalibrationError(EdgeMpqError):
    """Ranges that could not be measured: no pictures, not finite, constant."""


class ExportError(EdgeMpqError):
    """A model or plan that cannot be written as ONNX for the target."""


class EngineError(EdgeMpqError):
    """An engine that cannot be built, opened or run on this machine."""


class SourceError(EdgeMpqError):
    """A camera, video or folder of frames that cannot be opened or read."""


class BundleError(EdgeMpqError):
    """A bundle that is torn, edited, oversized or made for something else."""
