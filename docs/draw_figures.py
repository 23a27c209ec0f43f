"""Draw the pictures of the README and the pages, from phantoms with the weights that ship: no patient is in them.

    python docs/draw_figures.py [--output docs/images]

Half a minute on one core. ``overview.png``: templates, located boxes, masks. ``localization.png``: from a marked place
to its place in another scan. ``prompts.png``: the three kinds of boxes that a segmenter is given.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

import medlsam
from medlsam.export.figures import png
from medlsam.export.planes import BOX, INK, MASK, PAPER, PLANES, SOFT_TISSUE, Plane, outline, rectangle, show
from medlsam.localize.network.encoder import predicted_offset
from medlsam.localize.search.votes import coarse_consensus
from medlsam.options import PromptOptions
from medlsam.pipeline.prompts import slice_prompts
from medlsam.runtime.atomic_files import atomic_path

BODY = {"spacing_xyz": (3.0, 3.0, 3.0), "region": (230.0, 640.0)}
TEMPLATE_SEEDS, SCAN_SEED = (101, 102, 103), 201
COLOURS = {"liver": "#e69f00", "spleen": "#cc79a7", "kidney_left": "#56b4e9", "heart": "#d55e00"}
CORONAL: Plane = PLANES[1]
#: Half the width of the window in which similarity is drawn, mm.
WINDOW_MM = 48.0
CROSS: dict[str, Any] = {"marker": "+", "linestyle": "", "color": BOX, "markersize": 12, "markeredgewidth": 2}


class Drawn:
    """The phantoms, the model, and what it says of the scan."""

    def __init__(self, folder: Path) -> None:
        self.people = [medlsam.phantom(seed, **BODY) for seed in TEMPLATE_SEEDS]
        self.scan = medlsam.phantom(SCAN_SEED, **BODY)
        for number, person in enumerate(self.people):
            medlsam.write_volume(person.image, folder / "imagesTr" / f"person{number}_0000.nii.gz")
            medlsam.write_volume(person.labels, folder / "labelsTr" / f"person{number}.nii.gz")
        names = {name: value for value, name in self.people[0].names.items()}
        (folder / "dataset.json").write_text(json_of(names), encoding="utf-8")
        self.model = medlsam.load(device="cpu", precision="float32")
        self.templates = self.model.templates(folder, organs=list(COLOURS))
        self.result = self.model.segment(self.scan.image, self.templates, case="scan")


def json_of(names: dict[str, int]) -> str:
    """An nnU-Net ``dataset.json``."""
    labels = {"background": 0} | names
    return json.dumps({"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"})


def panels(titles: Sequence[str], size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """One row of axes with a title each."""
    figure = Figure(figsize=size, facecolor=PAPER)
    axes = list(np.atleast_1d(figure.subplots(1, len(titles))))
    figure.subplots_adjust(0.01, 0.02, 0.99, 0.91, wspace=0.03)
    for place, title in zip(axes, titles, strict=True):
        place.set_title(title, color=INK, fontsize=10)
    return figure, axes


def coronal(axes: Axes, volume: Any, y: float) -> int:
    """Show the coronal slice nearest to y (LPS mm); returns its index."""
    grid = volume.grid
    index = int(np.clip(round((y - grid.origin_xyz[1]) / grid.spacing_xyz[1]), 0, grid.shape_zyx[1] - 1))
    show(axes, volume.array[:, index], grid, CORONAL, SOFT_TISSUE)
    frame(axes, grid)
    return index


def frame(axes: Axes, grid: medlsam.Grid) -> None:
    """The same part of every slice: what is beside the body is left out, and all panels are of one shape."""
    middle, low = grid.box.center[0], grid.box.min[2]
    axes.set_xlim(middle - 190, middle + 190)
    axes.set_ylim(low + 8, low + 378)


def mask_of(person: Any, name: str) -> NDArray[np.bool_]:
    """(Z, Y, X) mask of a structure of a phantom."""
    (value,) = (value for value, known in person.names.items() if known == name)
    return np.asarray(person.labels.array == value)


def overview(drawn: Drawn) -> Figure:
    """Templates, boxes, masks: what the package does, in one row."""
    titles = ("mark structures in a few templates", "they are located in other scans", "and segmented")
    figure, axes = panels(titles, (9.6, 3.3))
    person, located = drawn.people[0], drawn.result.localization.structures
    middle = np.mean([box_of(person, name).center[1] for name in COLOURS])
    index = coronal(axes[0], person.image, middle)
    for name, colour in COLOURS.items():
        outline(axes[0], mask_of(person, name)[:, index], person.image.grid, CORONAL, colour, "-")
    middle = np.mean([structure.box.center[1] for structure in located.values() if structure.box is not None])
    index = coronal(axes[1], drawn.scan.image, middle)
    coronal(axes[2], drawn.scan.image, middle)
    values = {name: value for value, name in drawn.result.names.items()}
    for name, colour in COLOURS.items():
        structure = located[name]
        if structure.box is not None:
            axes[1].add_patch(rectangle(structure.box, 0, 2, colour, dashed=False))
        line = 0.2 - 0.055 * list(COLOURS).index(name)
        text = f"{name.replace('_', ' ')}: {structure.status}, confidence {structure.confidence:.2f}"
        axes[1].text(0.02, line, text, transform=axes[1].transAxes, color=colour, fontsize=8, va="center",
            path_effects=[withStroke(linewidth=3, foreground=PAPER)],
        )  # fmt: skip
        mask = drawn.result.labels.array[:, index] == values[name]
        outline(axes[2], mask, drawn.scan.image.grid, CORONAL, colour, "-")
    return figure


def box_of(person: Any, name: str) -> medlsam.Box:
    """The true box of a structure of a phantom, LPS mm."""
    return medlsam.ExtremePoints.from_mask(mask_of(person, name), person.labels.grid).box


def localization(drawn: Drawn) -> Figure:
    """One marked place: the template, the votes of the cells, the similarity in the window, the box."""
    titles = (
        "a place marked in a template",
        "RDR: votes of the cells",
        "MSS: similarity in a window",
        "six faces: the box",
    )
    figure, axes = panels(titles, (12.0, 3.2))
    name, face = "kidney_left", 4  # its lowest point
    person, image, model = drawn.people[0], drawn.scan.image, drawn.model
    marked = medlsam.ExtremePoints.from_mask(mask_of(person, name), person.labels.grid).array[face]
    index = coronal(axes[0], person.image, marked[1])
    outline(axes[0], mask_of(person, name)[:, index], person.image.grid, CORONAL, COLOURS[name], "-")
    axes[0].plot(marked[0], marked[2], **CROSS)
    with torch.inference_mode():
        latent, feature = model.embed(person.image).read(marked[None])
        seen = model.embed(image)
        coarse = coarse_consensus(seen, latent)[0][0].numpy()
        cells, latents = (part.numpy() for part in seen.starts())
        offsets = predicted_offset(torch.from_numpy(latents), latent, seen.range_mm).numpy()
        places, similarity = window_of(seen, feature, coarse)
    coronal(axes[1], image, coarse[1])
    near = np.exp(-((cells - coarse) ** 2).sum(axis=1) / (2 * 80.0**2))
    chosen = np.flatnonzero((np.abs(cells[:, 1] - coarse[1]) < 17) & (near > 0.02))
    axes[1].quiver(
        cells[chosen, 0], cells[chosen, 2], offsets[chosen, 0], offsets[chosen, 2], near[chosen], cmap="viridis",
        angles="xy", scale_units="xy", scale=1, width=0.004, alpha=0.8,
    )  # fmt: skip
    axes[1].plot(coarse[0], coarse[2], "o", color=BOX, markersize=8, markeredgecolor=PAPER)
    z, y, x = np.unravel_index(int(similarity.argmax()), similarity.shape)
    coronal(axes[2], image, places[1][y])
    sides = (places[0][0], places[0][-1], places[2][0], places[2][-1])
    axes[2].imshow(similarity[:, y], cmap="inferno", alpha=0.7, origin="lower", extent=sides)
    frame(axes[2], image.grid)
    axes[2].plot(places[0][x], places[2][z], **CROSS)
    structure = drawn.result.localization.structures[name]
    assert structure.box is not None
    assert structure.points is not None
    coronal(axes[3], image, structure.box.center[1])
    axes[3].add_patch(rectangle(structure.box, 0, 2, COLOURS[name], dashed=False))
    axes[3].plot(structure.points.array[:, 0], structure.points.array[:, 2], **CROSS)
    return figure


def window_of(
    seen: Any, feature: torch.Tensor, around: NDArray[Any]
) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """Places along x, y, z (LPS mm), and the mean cosine of the three scales there as (Z, Y, X)."""
    axes = [np.arange(middle - WINDOW_MM, middle + WINDOW_MM + 1, 4.0) for middle in around]
    score = seen.read_lattice(axes) @ feature[0] / 3
    shape = [len(axis) for axis in axes]
    return axes, score.reshape(shape).permute(2, 1, 0).numpy()


def prompts(drawn: Drawn) -> Figure:
    """WPL, SPL and profile boxes of one structure, seen from the front."""
    titles = ("WPL: one box", "SPL: a box for each slab", "profile: a box for each slice", "the masks")
    figure, axes = panels(titles, (12.0, 3.2))
    name, image = "liver", drawn.scan.image
    options: dict[str, Any] = {"organs": [name], "case": "scan"}
    spl = drawn.model.segment(image, drawn.templates, prompts="spl", **options).localization.structures[name]
    structure = replace(drawn.result.localization.structures[name], slabs=spl.slabs)
    assert structure.box is not None
    grid, middle = image.grid, structure.box.center[1]
    (value,) = (value for value, known in drawn.result.names.items() if known == name)
    for place, kind in zip(axes, ("wpl", "spl", "profile", "profile"), strict=True):
        index = coronal(place, image, middle)
        if place is axes[-1]:
            outline(place, drawn.result.labels.array[:, index] == value, grid, CORONAL, MASK, "-")
            break
        for prompt in slice_prompts(structure, grid, PromptOptions(prompts=kind, margin_mm=0.0)):
            (x0, z0), (x1, z1) = (
                (grid.origin_xyz[0] + grid.spacing_xyz[0] * x, grid.origin_xyz[2] + grid.spacing_xyz[2] * z)
                for x, z in ((prompt.box_xyxy[0], prompt.z - 0.5), (prompt.box_xyxy[2], prompt.z + 0.5))
            )
            place.add_patch(Rectangle((x0, z0), x1 - x0, z1 - z0, color=BOX, alpha=0.35, linewidth=0))
        outline(place, mask_of(drawn.scan, name)[:, index], grid, CORONAL, MASK, "--")
    return figure


def draw_all(output: Path) -> None:
    """Write every picture into a folder."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = Drawn(Path(folder))
        for draw in (overview, localization, prompts):
            with atomic_path(output / f"{draw.__name__}.png") as temporary:
                temporary.write_bytes(png(draw(drawn), dpi=100))
            print(f"{output / draw.__name__}.png", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images", metavar="DIR")
    draw_all(parser.parse_args().output)
