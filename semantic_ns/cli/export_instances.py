"""`sns-export instances`: things one by one, on the surface of a trained scene and in its images."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from semantic_ns.io.console import tracked
from semantic_ns.runs import load_run

if TYPE_CHECKING:  # slow to import, and not needed to refuse a wrong option
    from numpy import ndarray

    from semantic_ns.export.scene_instances import Masks


@dataclass
class Instances:
    """Tell things of one class apart, and write an image of instance ids for each frame.

    Connected parts of the surface of one class are instances. Where --masks gives masks of things in single frames,
    these are joined over views by what most frames say; their ids need not agree between frames. Written are PNGs of 16
    bits in the folder instances, in which an id means the same thing in every frame, pictures of them in
    instances_color, instances.json with the class, colour, size and box of each instance, and COCO's formats of
    instances (instances_coco.json) and of panoptic segments (panoptic.json and the folder panoptic), which hold the
    other classes, too. Training images and scored images are written.
    """

    load_config: Path
    """The config.yml of the run."""
    output_dir: Path
    """New folder of the files, outside the scene's folder."""
    masks: Path | None = None
    """Folder of PNGs of mask ids, 0 for none, each named like the image of its frame. Frames may be without masks.
    Where images of several folders have equal names, the masks lie in folders of the same names. The folder instances
    that this command writes is read, too. Or a JSON file in COCO's format of instances, whose categories do not count;
    where its masks overlap, as those of Segment Anything do, the smaller one wins."""
    depth: Literal["auto", "given", "rendered"] = "auto"
    """Where depth comes from: the depth images of the scene (given), or what the run renders. By default the scene's
    where training frames have depth images that agree with each other."""
    cityscapes: bool = False
    """Whether the layout of Cityscapes is written as well, into the folder cityscapes: PNGs of the ids of instances,
    of the ids of classes and of colours, and polygons."""

    def main(self) -> None:
        """Load the run, render its images, find the instances, and write into a folder that appears when complete."""
        from semantic_ns.datasets.semantic_dataset import PinholeDataset
        from semantic_ns.export.instance_files import InstanceFiles
        from semantic_ns.export.instance_masks import relative_paths
        from semantic_ns.export.instance_surface import refuse_without_things
        from semantic_ns.export.labels import dataset_frames, input_paths, unique_frames
        from semantic_ns.export.scene_instances import read_run_surface
        from semantic_ns.export.surface_views import render_views
        from semantic_ns.io.image_names import names_of_images
        from semantic_ns.io.orientation import UPRIGHT, exif_orientation
        from semantic_ns.io.writing import making_folder, refuse_inside, refuse_used_folder
        from semantic_ns.labels.taxonomy import VOID

        refuse_used_folder(self.output_dir, "--output-dir", is_replaced=True)
        run = load_run(self.load_config)
        taxonomy, data = run.model.taxonomy, run.pipeline.datamanager
        refuse_without_things(taxonomy)
        refuse_inside(self.output_dir, input_paths(data), "--output-dir")
        train, scored = (PinholeDataset.of(dataset) for dataset in (data.train_dataset, data.eval_dataset))
        frames = [*dataset_frames(train), *dataset_frames(scored)]
        paths = [*train.image_filenames, *scored.image_filenames]
        images = relative_paths(paths)
        # With split all both have the same images, which are one each.
        name_of = dict(zip(unique := list(dict.fromkeys(paths)), names_of_images(unique), strict=True))
        names = [name_of[path] for path in paths]
        masks = given_masks(self.masks, data)
        surface = read_run_surface(run.model, data, self.depth, masks, tracked("Rendering training images"))
        found = surface.instances
        with making_folder(self.output_dir) as folder:
            files = InstanceFiles(folder, found, taxonomy, surface.scene.unit, self.cityscapes)
            outputs = data.train_dataparser_outputs
            others = render_views(run.model, scored, outputs, track=tracked("Rendering scored images"))
            used = {id(frame) for frame in unique_frames(frames)}
            for frame, image, name, view in zip(frames, images, names, [*surface.views, *others], strict=True):
                if id(frame) not in used:
                    continue
                ids = frame.stored(found.of(found.surface.shown_by(view)), 0)
                labels = frame.stored(view.labels, VOID)
                orientation = UPRIGHT if frame.image is None else exif_orientation(frame.image)
                files.add(frame.name, image, ids, labels, orientation)
                if self.cityscapes:
                    files.add_cityscapes(name, ids, labels, orientation)
            files.finish()
        Console(soft_wrap=True, highlight=False, markup=False).print(
            f"Wrote {found.count} instances, from {surface.said}, to {self.output_dir}; depth: "
            f"{surface.scene.depth_source}."
        )


def given_masks(masks: Path | None, data: Any) -> "Masks":
    """The masks of the training images of a run, from a folder of images of ids or from a file of COCO's format.

    Raises:
        SceneError: if there are none, or they cannot be read.
    """
    from semantic_ns.export.scene_instances import training_masks

    if masks is None:
        return ()
    if not masks.is_file():
        return training_masks(masks, data)
    from semantic_ns.annotations.thing_masks import read_coco_masks
    from semantic_ns.export.instance_masks import relative_paths

    images = data.train_dataset.image_filenames
    names = relative_paths([*images, *data.eval_dataset.image_filenames])
    found = read_coco_masks(masks, images, [str(name) for name in names[: len(images)]])
    return [None if image is None else _at_size(image, data.train_dataset, i) for i, image in enumerate(found)]


def _at_size(ids: "ndarray", dataset: Any, index: int) -> "ndarray":
    """Ids of the pixels of a stored image at the size of the image that training sees, by nearest neighbours."""
    pairs = zip(ids.shape, dataset.without_label(index).shape, strict=True)
    rows, columns = ([(2 * i + 1) * stored // (2 * n) for i in range(n)] for stored, n in pairs)
    return ids[rows][:, columns]
