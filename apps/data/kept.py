"""Frames that stay beside a bundle."""

import os

import cv2

from apps.data import Pictures
from apps.data.batches import sample
from edge_mpq.records import document

FRAMES = 8


def keep_frames(folder: str, pictures: Pictures) -> None:
    """A few of ``pictures`` into ``frames`` of the bundle, for the board to time on and to show."""
    os.makedirs(os.path.join(folder, "frames"), exist_ok=True)
    for number, index in enumerate(sample(pictures, min(FRAMES, len(pictures)), seed=3)):
        picture = cv2.cvtColor(pictures.frame(index), cv2.COLOR_RGB2BGR)
        encoded = cv2.imencode(".png", picture)[1].tobytes()
        document.write_bytes(os.path.join(folder, "frames", f"{number}.png"), encoded)
