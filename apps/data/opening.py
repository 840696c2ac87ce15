"""``--data``: from what a person writes to a DataSet."""

import os

from apps.data import DataSet, Pictures
from apps.data.folder import open_folder
from apps.data.npz import open_npz
from edge_mpq.errors import DataError, EdgeMpqError, ModelError
from edge_mpq.loading import factory

FORMS = "give a folder with one subfolder per class, an .npz, a FLAME folder, module:factory, or synthetic"


def open_data(spec: str, task: str = "classify") -> DataSet:
    """The data set that ``spec`` names.

    A folder of class folders (apps.data.folder), an .npz (apps.data.npz), a FLAME folder
    (told by its ``Training/Fire``, or by ``Images`` and ``Masks``), ``package.module:factory`` or
    ``file.py:factory`` that returns a DataSet, or the word ``synthetic``.  task: ``segment`` takes
    of a FLAME folder the pictures with masks, where it has any.  Raises DataError.
    """
    if _has_masks(spec) or (task == "segment" and _has_masks(os.path.join(spec, "Segmentation"))):
        from apps.wildfire import flame

        return flame.open_masked(spec)
    if spec == "synthetic":
        from apps.wildfire import synthetic

        return synthetic.open_classification()
    if os.path.isdir(os.path.join(spec, "Training", "Fire")):
        from apps.wildfire import flame

        return flame.open_classification(spec)
    if os.path.isdir(spec):
        try:
            return open_folder(spec)
        except OSError as error:
            raise DataError(f"cannot read {spec} ({error})", "check its permissions") from error
    if os.path.isfile(spec):
        if not spec.lower().endswith(".npz"):
            raise DataError(f"{spec} is a file but no .npz", FORMS)
        return open_npz(spec)
    if ":" in spec:
        return _made(spec)
    raise DataError(f"there is no data at {spec!r}", FORMS)


def check_classes(data: DataSet, spec: str, classes: list[str]) -> None:
    """Raise DataError where ``data``, named by ``spec``, is labelled in others than ``classes``, a bundle's."""
    if classes and data.classes and data.classes != classes:
        raise DataError(
            f"{spec} has classes {', '.join(data.classes[:5])}, the bundle {', '.join(classes[:5])}",
            "give data with the classes that the model was made for",
        )


def _has_masks(folder: str) -> bool:
    """Whether a folder holds FLAME's pairs of frames and masks."""
    return all(os.path.isdir(os.path.join(folder, name)) for name in ("Images", "Masks"))


def _made(spec: str) -> DataSet:
    """The DataSet a user's factory returns, looked over once at the door."""
    try:
        made = factory(spec)()
    except ModelError as error:
        raise DataError(error.what, error.mend) from error
    except EdgeMpqError:
        raise
    except Exception as error:
        raise DataError(f"{spec} fails ({type(error).__name__}: {error})", "call it in Python first") from error
    if not isinstance(made, DataSet):
        raise DataError(f"{spec} returns a {type(made).__name__}", "return an apps.data.DataSet")
    faults = [f"{half} {fault}" for half in ("train", "test") for fault in _faults(getattr(made, half), made.classes)]
    if faults:
        raise DataError(f"{spec}: {'; '.join(faults)}", "see apps.data.Pictures for what is wanted")
    return made


def _faults(pictures: object, classes: list[str]) -> list[str]:
    """What is wrong with one half of a user's data set, judged by its length and first picture."""
    if not isinstance(pictures, Pictures):
        return ["has no classes, len, frame and label"]
    if len(pictures) == 0:
        return ["is empty"]
    faults = []
    frame, label = pictures.frame(0), pictures.label(0)
    described = f"{getattr(frame, 'dtype', type(frame).__name__)} {list(getattr(frame, 'shape', ()))}"
    if not described.startswith("uint8 ") or len(frame.shape) != 3 or frame.shape[2] != 3:
        faults.append(f"has frames of {described}, not uint8 [H, W, 3]")
    if not 0 <= label < len(classes):
        faults.append(f"has label {label} with {len(classes)} classes")
    return faults
