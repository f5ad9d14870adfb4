"""`sns-export`: the surface of a trained scene, with its classes, for other programs."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console

from semantic_ns.cli.export_dataset import ExportDataset
from semantic_ns.cli.export_instances import Instances, given_masks
from semantic_ns.cli.export_labels import ExportLabels
from semantic_ns.cli.main import run_command
from semantic_ns.cli.to_splat import ToSplat
from semantic_ns.errors import SceneError
from semantic_ns.io.console import tracked
from semantic_ns.runs import load_run

if TYPE_CHECKING:  # slow to import, and not needed to refuse a wrong option
    from semantic_ns.export.crop import Crop
    from semantic_ns.export.instance_surface import SurfaceInstances
    from semantic_ns.export.scene_instances import RunSurface


@dataclass
class _Surface:
    """What points and meshes share."""

    load_config: Path
    """The config.yml of the run."""
    output_dir: Path
    """New folder of the files, outside the scene's folder."""
    depth: Literal["auto", "given", "rendered"] = "auto"
    """Where depth comes from: the depth images of the scene (given), or what the run renders. By default the scene's
    where training frames have depth images that agree with each other."""
    instances: bool = False
    """Whether things of one class are told apart, as sns-export instances does: connected parts of the surface, or
    what --masks says. Points and vertices get the id of their thing, 0 for none, instances.json says what each is, and
    there is a further file in the colours of the things."""
    masks: Path | None = None
    """Folder of PNGs of mask ids or COCO file, as for sns-export instances; it implies --instances True."""
    obb_center: tuple[float, float, float] | None = None
    """Middle of a box outside which nothing is written. This and the next two options are those of ns-export, and are
    given together: crop the viewport in ns-viewer, and copy the numbers from the command in its Export panel."""
    obb_rotation: tuple[float, float, float] | None = None
    """Rotation of the box: roll, pitch and yaw, in radians."""
    obb_scale: tuple[float, float, float] | None = None
    """Sides of the box, in the units of the viewer."""

    def _export(self) -> None:
        """Load the run, render its training images, and write into a folder that appears when it is complete."""
        from semantic_ns.export.instance_surface import refuse_without_things
        from semantic_ns.export.labels import input_paths
        from semantic_ns.export.scene_instances import read_run_surface
        from semantic_ns.export.surface_files import README
        from semantic_ns.io.writing import making_folder, refuse_inside, refuse_used_folder

        refuse_used_folder(self.output_dir, "--output-dir", is_replaced=True)
        self._refuse_half_a_box()
        run = load_run(self.load_config)
        self._refuse_classes(run.model.taxonomy)
        tells_apart = self.instances or self.masks is not None
        if tells_apart:
            refuse_without_things(run.model.taxonomy)
        data = run.pipeline.datamanager
        refuse_inside(self.output_dir, input_paths(data), "--output-dir")
        masks = given_masks(self.masks, data)
        crop = self._crop(data.train_dataparser_outputs)
        surface = read_run_surface(run.model, data, self.depth, masks, tracked("Rendering"))
        with making_folder(self.output_dir) as folder:
            what = self._write(folder, surface, surface.instances if tells_apart else None, crop)
        apart = f"; {surface.instances.count} instances, from {surface.said}" if tells_apart else ""
        Console(soft_wrap=True, highlight=False).print(
            f"Wrote {what}{apart}, to {self.output_dir}; depth: {surface.scene.depth_source}. {README} there says what "
            "to expect.",
            markup=False,
        )

    def _refuse_classes(self, taxonomy: Any) -> None:
        """Check that the format has room for the classes, before anything is rendered."""

    def _refuse_half_a_box(self) -> None:
        given = [value is not None for value in (self.obb_center, self.obb_rotation, self.obb_scale)]
        if any(given) and not all(given):
            raise SceneError(
                f"Expected --obb-center, --obb-rotation and --obb-scale together, found {sum(given)} of the three; "
                "copy them from the Export panel of ns-viewer."
            )

    def _crop(self, outputs: Any) -> "Crop | None":
        from semantic_ns.export.crop import Crop

        if self.obb_center is None or self.obb_rotation is None or self.obb_scale is None:
            return None
        return Crop.of_viewer(self.obb_center, self.obb_rotation, self.obb_scale, outputs)

    def _write(
        self, folder: Path, surface: "RunSurface", instances: "SurfaceInstances | None", crop: "Crop | None"
    ) -> str:
        raise NotImplementedError


@dataclass
class PointCloud(_Surface):
    """Write the surface of a trained scene as points with normals, colours, classes and confidences.

    Points lie in the world of the scene's files, in metres where its scale is known. They are the means of what all
    training images show in the cubes of a grid; points that more views see through than see are left out.
    """

    num_points: int = 1_000_000
    """Number of points, about; there are no more than the training images have pixels."""
    format: Literal["ply", "las", "laz"] = "ply"
    """Format of the file. LAS and LAZ need the extra package laspy: pip install 'semantic-ns[las]'."""

    def main(self) -> None:
        """Check, render, and write."""
        if self.num_points < 1:
            raise SceneError(f"Expected --num-points of at least 1, found {self.num_points}; change it.")
        self._refuse_las(num_classes=0)  # before the run is loaded
        self._export()

    def _refuse_classes(self, taxonomy: Any) -> None:
        self._refuse_las(taxonomy.num_classes)

    def _refuse_las(self, num_classes: int) -> None:
        if self.format != "ply":
            from semantic_ns.export.point_files import refuse_las

            refuse_las(Path(f"points.{self.format}"), num_classes)

    def _write(
        self, folder: Path, surface: "RunSurface", instances: "SurfaceInstances | None", crop: "Crop | None"
    ) -> str:
        from semantic_ns.export.surface_files import write_points

        return write_points(folder, surface.scene, surface.taxonomy, self.num_points, self.format, instances, crop)


@dataclass
class Mesh(_Surface):
    """Write the surface of a trained scene as a mesh in its colours, and as one in the colours of its classes.

    Depth of all training images is fused into truncated signed distances (Curless and Levoy 1996). Where no camera
    looked there is no surface. The mesh lies in the world of the scene's files, in metres where its scale is known. A
    PLY also holds the id of the class and the confidence of each vertex, a GLB the id.
    """

    voxel_size: float | None = None
    """Distance of two voxels, in metres where the scale of the scene is known; by default one and a half times the
    median side of a pixel on the surface."""
    format: Literal["ply", "obj", "glb", "scannet"] = "ply"
    """Format of the files. With scannet they are those of a scan of ScanNet, named after the output folder: the mesh,
    the label of each vertex, and objects as segments."""
    split_classes: bool = False
    """Whether each class is a mesh of its own: a file for each, or a node for each in a GLB."""

    def main(self) -> None:
        """Check, render, fuse, and write."""
        if self.voxel_size is not None and not (self.voxel_size > 0 and math.isfinite(self.voxel_size)):
            raise SceneError(f"Expected --voxel-size above 0, found {self.voxel_size}; change it.")
        if self.split_classes and self.format == "scannet":
            raise SceneError(
                "Expected whole meshes with --format scannet, found --split-classes; leave one of them out."
            )
        self._export()

    def _write(
        self, folder: Path, surface: "RunSurface", instances: "SurfaceInstances | None", crop: "Crop | None"
    ) -> str:
        from semantic_ns.export.surface_files import MeshOptions, write_surface_mesh

        name = self.output_dir.resolve().name
        options = MeshOptions(self.voxel_size, self.format, self.split_classes, name, crop)
        return write_surface_mesh(folder, surface.scene, surface.taxonomy, options, instances, tracked("Fusing depth"))


def entrypoint() -> None:
    """Console script `sns-export`."""
    command: PointCloud | Mesh | ToSplat | Instances | ExportLabels | ExportDataset = tyro.cli(
        Annotated[PointCloud, tyro.conf.subcommand("pointcloud")]
        | Annotated[Mesh, tyro.conf.subcommand("mesh")]
        | Annotated[ToSplat, tyro.conf.subcommand("splat")]
        | Annotated[Instances, tyro.conf.subcommand("instances")]
        | Annotated[ExportLabels, tyro.conf.subcommand("labels")]
        | Annotated[ExportDataset, tyro.conf.subcommand("dataset")],
        description="Write what a trained scene knows in formats of other programs.",
        config=(tyro.conf.FlagConversionOff,),
    )
    run_command(command.main)


if __name__ == "__main__":
    entrypoint()
