"""Small fires in large frames: the whole frame as one picture against overlapping tiles, by IoU and by time.

    python -m benchmarks.tiles BUNDLE [--scenes 6] [--sides 870 480 240]

BUNDLE: of a segmenter whose class 1 is fire.  Scenes are 3480 x 2160, the size of FLAME's masks: a
forest from above with ten fires, each 20 to 160 pixels high and apart from the others.  ``iou`` is
that of fire, over the pixels of all scenes; ``found``: fires of which at least a tenth of the pixels
are said to be fire; ``false``: pixels said to be fire that are none, in a million of the picture.  Ways
are timed in turns, from the frame to its mask; a turn's ratio is against the whole frame in that turn.
"""

import argparse
import statistics
import time

import cv2
import numpy as np

from apps import measure
from apps.stream.engine_from_bundle import ROLES, open_engine
from apps.stream.readers import Whole, infer
from apps.stream.tiles import Tiles
from apps.terminal import bar
from apps.wildfire import camera, fire, metrics
from apps.wildfire.noise import between
from apps.wildfire.scenes import Scene
from apps.wildfire.seasons import draw_light, draw_season
from apps.wildfire.terrain import from_above
from edge_mpq.records import bundle as bundles

COLUMNS, ROWS, FIRES = 3480, 2160, 10
FOUND = 0.1


def small_fires(seed):
    """A Scene with FIRES small fires, at most one in each part of a grid of 5 x 3."""
    rng = np.random.default_rng([seed, 17])
    view = from_above(rng, ROWS, COLUMNS, draw_season(rng), draw_light(rng), between(rng, 40, 160))
    flames = []
    for part in rng.choice(15, FIRES, replace=False):
        x, y = (part % 5 + rng.uniform(0.25, 0.75)) * COLUMNS / 5, (part // 5 + rng.uniform(0.25, 0.75)) * ROWS / 3
        high, lean = between(rng, 20, 160), float(rng.uniform(-0.8, 0.8))
        shape = high * between(rng, 0.5, 1.6), high, 0.0, lean, int(rng.integers(0, 2**31)), 0.3
        flames.append(fire.Flame(float(x), float(y), *shape))
    heat = fire.heat_of(flames, ROWS, COLUMNS)
    picture = fire.burn(fire.glow(view.back, heat, 0.3), heat, fire.ramp(rng))
    return Scene(camera.develop(camera.draw_camera(rng)._replace(blur=0.0), picture, rng), fire.opacity(heat) > 0.5)


def answered(engine, reader, frame):
    """(the mask, milliseconds from the frame to it)."""
    begun = time.perf_counter()
    outputs = infer(engine, reader.prepare(frame))
    mask = reader.decode(engine, outputs, frame.shape[:2]).mask
    return mask, 1e3 * (time.perf_counter() - begun)


def found(mask, truth):
    """(how many fires of ``truth`` are found in ``mask``, how many there are)."""
    # Sparks beside a fire belong to it.
    whole = cv2.dilate(truth.astype(np.uint8), np.ones((61, 61), np.uint8))
    count, fires = cv2.connectedComponents(whole)
    sizes = np.bincount(fires[truth], minlength=count)[1:]
    hits = np.bincount(fires[truth & (mask == 1)], minlength=count)[1:]
    return int((hits >= FOUND * sizes).sum()), count - 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--role", choices=[role for role, _ in ROLES], default="model")
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--sides", type=int, nargs="+", default=[870, 480, 240])
    args = parser.parse_args()
    cv2.setNumThreads(1)
    record = bundles.open_folder(args.bundle)
    readers = {"whole": Whole(record)}
    readers.update({f"tiles of {side}": Tiles(record, side) for side in args.sides})
    counts = {way: np.zeros((2, 2), np.int64) for way in readers}
    seen = {way: np.zeros(2, int) for way in readers}
    times: dict[str, list[float]] = {way: [] for way in readers}
    with open_engine(args.bundle, record, args.role) as engine:
        for seed in bar(range(args.scenes), "scenes", args.scenes):
            scene = small_fires(seed)
            frame = np.ascontiguousarray(scene.picture[..., ::-1])
            for way in list(readers)[seed % len(readers) :] + list(readers)[: seed % len(readers)]:
                mask, ms = answered(engine, readers[way], frame)
                counts[way] += metrics.confusion(mask == 1, scene.mask, 2)
                seen[way] += found(mask, scene.mask)
                times[way].append(ms)
    print(measure.machine(1))
    print("| way | pictures | iou | found | false | ms | times whole |\n|---|---|---|---|---|---|---|")
    for way, reader in readers.items():
        pictures = len(reader.prepare(np.zeros((ROWS, COLUMNS, 3), np.uint8)))
        false = 1e6 * counts[way][0, 1] / counts[way].sum()
        ratio = statistics.median(one / whole for one, whole in zip(times[way], times["whole"], strict=True))
        hits, there = seen[way]
        print(
            f"| {way} | {pictures} | {metrics.ious(counts[way])[1]:.3f} | {hits} of {there} | {false:.0f} "
            f"| {statistics.median(times[way]):.0f} | {ratio:.1f} |"
        )


if __name__ == "__main__":
    main()
