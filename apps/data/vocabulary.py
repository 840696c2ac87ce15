"""What tokens stand for: characters, or the subwords of a tokenizer that came with a checkpoint."""

import os
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from edge_mpq.errors import ModelError
from edge_mpq.records import document

# Stands for every character that a vocabulary lacks.
UNKNOWN = "\ufffd"
FILE, KIND, VERSION = "characters.json", "characters", 1


class Vocabulary(Protocol):
    """Text to tokens and back."""

    def __len__(self) -> int:
        """How many tokens there are."""

    def encoded(self, text: str) -> torch.Tensor:
        """Codes int64 [T] of ``text``."""

    def decoded(self, codes: Sequence[int]) -> str:
        """The text of codes."""


class Characters:
    """One token a character; what it lacks becomes UNKNOWN, its last one."""

    def __init__(self, characters: str) -> None:
        self.characters = characters.replace(UNKNOWN, "") + UNKNOWN
        self._codes = {character: code for code, character in enumerate(self.characters)}

    def __len__(self) -> int:
        return len(self.characters)

    def encoded(self, text: str) -> torch.Tensor:
        """Codes int64 [characters] of ``text``."""
        unknown = len(self) - 1
        return torch.tensor([self._codes.get(character, unknown) for character in text], dtype=torch.int64)

    def decoded(self, codes: Sequence[int]) -> str:
        """The text of codes."""
        return "".join(self.characters[code] for code in codes)

    def save(self, folder: str) -> None:
        """Write it beside a checkpoint, where :func:`open_vocabulary` finds it."""
        document.save(os.path.join(folder, FILE), KIND, VERSION, {"characters": self.characters})


class Subwords:
    """A tokenizer of the library ``tokenizers``."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    def encoded(self, text: str) -> torch.Tensor:
        """Codes int64 [T] of ``text``."""
        return torch.tensor(self.tokenizer.encode(text).ids, dtype=torch.int64)

    def decoded(self, codes: Sequence[int]) -> str:
        """The text of codes."""
        return str(self.tokenizer.decode(list(codes)))


def open_vocabulary(folder: str) -> Vocabulary:
    """The vocabulary in the folder of a checkpoint.

    ``characters.json`` is our own; ``tokenizer.json``, or ``vocab.json`` with ``merges.txt``, need the
    library tokenizers.  Raises ModelError where there is none, or it cannot be read.
    """
    if os.path.isfile(os.path.join(folder, FILE)):
        fields = document.load(os.path.join(folder, FILE), KIND, VERSION)
        characters = fields.take("characters", str, "")
        if len(set(characters)) != len(characters):
            fields.fault("a character stands twice")
        fields.done()
        return Characters(characters)
    whole, halves = os.path.join(folder, "tokenizer.json"), [
        os.path.join(folder, name) for name in ("vocab.json", "merges.txt")
    ]  # fmt: skip
    if not os.path.isfile(whole) and not all(map(os.path.isfile, halves)):
        raise ModelError(
            f"{folder} has no tokenizer", f"put tokenizer.json, vocab.json and merges.txt, or {FILE} there"
        )
    try:
        import tokenizers
    except ImportError as error:
        raise ModelError(f"the tokenizer of {folder} needs tokenizers", "pip install tokenizers") from error
    try:
        if os.path.isfile(whole):
            return Subwords(tokenizers.Tokenizer.from_file(whole))
        return Subwords(tokenizers.ByteLevelBPETokenizer(*halves))
    except Exception as error:  # the library raises plain Exceptions
        raise ModelError(f"the tokenizer of {folder} cannot be read ({error})", "copy it again") from error
