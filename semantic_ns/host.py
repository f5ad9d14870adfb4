"""What nerfstudio 1.1.5 needs from outside to run everywhere: each fix of the host lives here, with its reason.

`prepare` runs when `semantic_ns.methods` is imported, which every `ns-*` command does. It therefore has to be cheap
(about a millisecond), to change nothing for other methods (but that their viewer keeps to itself what is not its own),
and never to fail.
"""

import hashlib
import importlib.util
import inspect
import os
import pickle
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, Literal, cast

import numpy as np
import torch
from nerfstudio.utils.rich_utils import CONSOLE
from rich.console import Console
from rich.text import Text
from torch import Tensor

from semantic_ns.commands import sentence_about_missing_run, sentence_about_unwritable_place
from semantic_ns.errors import SceneError
from semantic_ns.moved import find_moved_modules, present_options
from semantic_ns.viewer.guard import HOSTS_VARIABLE, ViewerGuard, is_loopback, is_websocket
from semantic_ns.viewer.local_host import with_local_host


def prepare() -> None:
    """Apply the fixes that every `ns-*` command needs; calling it again changes nothing."""
    let_idle_threads_sleep()
    allow_numpy_scalars_in_checkpoints()
    show_scene_errors_as_one_sentence()
    put_ffmpeg_on_path()
    name_frozen_importers_to_inspect()
    guard_viewer()
    find_moved_modules()
    rename_moved_options()
    keep_viewer_local()


def rename_moved_options() -> None:
    """Give options on this process's command line that moved their present names, and name them in one sentence.

    nerfstudio loads its plugins before it has tyro parse `sys.argv`, which has no hook for an option's second name. No
    other program has options that begin as these do.
    """
    present = present_options(sys.argv)
    changed = [pair for pair in zip(sys.argv, present, strict=True) if pair[0] != pair[1]]
    sys.argv[:] = present
    if changed:
        names = ", ".join(f"{old.partition('=')[0]} is now {new.partition('=')[0]}" for old, new in changed)
        _say(f"Some options have moved; their old names still work: {names}.")


def keep_viewer_local() -> None:
    """Have `ns-viewer` listen to this machine alone on a run of this package, unless its command line names a host.

    nerfstudio gives its viewer a configuration of its own, whose default is the whole network, in place of the run's.
    """
    sys.argv[:] = with_local_host(sys.argv)


def name_frozen_importers_to_inspect() -> None:
    """Tell `inspect` which modules the frozen files of the import system are; start-up takes some two seconds less.

    After it has loaded the plugins, nerfstudio 1.1.5 calls `inspect.stack()` once for each method that is not
    installed. Most frames on the stack are the import system's, whose file does not exist, so that `inspect` looks
    through all modules for each of them, thousands by then. This fills the cache in which it looks first.
    """
    for module in ("importlib._bootstrap", "importlib._bootstrap_external"):
        inspect.modulesbyfile.setdefault(f"<frozen {module}>", module)  # pyright: ignore[reportAttributeAccessIssue]


def let_idle_threads_sleep() -> None:
    """Let the threads of OpenMP libraries that are loaded from now on sleep between two kernels instead of spinning.

    A thread that spins takes a core from others: on two cores, or beside any other busy process, that costs more than
    half of the speed. A user's own setting stays. torch's library is older than this: see `shared_cores.py`.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def default_device() -> Literal["cuda", "cpu"]:
    """Return the device to train on unless the user says otherwise; nerfstudio's own default is always CUDA."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def allow_numpy_scalars_in_checkpoints() -> None:
    """Let `torch.load` read nerfstudio's checkpoints, which hold the learning rates as NumPy scalars.

    From torch 2.6 on it reads tensors and plain values only, and nerfstudio 1.1.5 does not ask for more. Naming the few
    types keeps that protection, which an environment variable would switch off for every file.
    """
    if torch.__version__ < "2.6":  # compared as versions, not as text
        return
    try:
        from numpy._core.multiarray import scalar  # pyright: ignore[reportAttributeAccessIssue]
    except ImportError:  # NumPy 1
        from numpy.core.multiarray import scalar  # pyright: ignore[reportAttributeAccessIssue]
    # A checkpoint names the module as the NumPy that wrote it did, which need not be the one that reads it.
    torch.serialization.add_safe_globals(
        [
            (scalar, "numpy.core.multiarray.scalar"),
            (scalar, "numpy._core.multiarray.scalar"),
            np.dtype,
            *(type(np.dtype(code)) for code in ("f8", "f4", "i8", "i4", "b1")),
        ]
    )


def show_scene_errors_as_one_sentence() -> None:
    """Make every command end with the sentence of a `SceneError` and status 1 instead of a traceback.

    A run that is not there, which nerfstudio opens without looking, and a place that cannot be written are told in the
    same way. Other exceptions go to the
    hook that was there before.
    """
    previous = sys.excepthook
    if getattr(previous, "shows_scene_errors", False):
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, SceneError):
            print_in_red(str(error))
        elif (sentence := sentence_about_missing_run(error) or sentence_about_unwritable_place(error)) is not None:
            print_in_red(sentence)
        else:
            previous(kind, error, traceback)

    hook.shows_scene_errors = True  # pyright: ignore[reportFunctionMemberAccess]
    sys.excepthook = hook


def print_in_red(sentence: str) -> None:
    """Print a sentence to standard error, in red on a terminal, unbroken so that paths in it can be copied."""
    Console(stderr=True).print(Text(sentence, style="bold red"), soft_wrap=True)


def put_ffmpeg_on_path() -> None:
    """Offer imageio-ffmpeg's program under the name `ffmpeg` if the machine has none; `ns-render` refuses without.

    The program comes as `ffmpeg-linux-x86_64-v7...`, so a link with the right name is made in the user's cache folder,
    one for each installation, and that folder goes to the end of this process's PATH.
    """
    if shutil.which("ffmpeg") is not None:
        return
    # Without the package, or in a home folder that cannot be written, ns-render says itself what is missing.
    with suppress(OSError, ImportError, ValueError):
        program = _bundled_ffmpeg()
        if program is not None:
            folder = _link_as_ffmpeg(program)
            os.environ["PATH"] = os.pathsep.join(filter(None, (os.environ.get("PATH"), str(folder))))


def _bundled_ffmpeg() -> Path | None:
    # Found without importing imageio_ffmpeg, which would run the program to check it.
    spec = importlib.util.find_spec("imageio_ffmpeg")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "binaries").glob("ffmpeg-*"))), None)


def _link_as_ffmpeg(program: Path) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "semantic_ns" / f"ffmpeg-{hashlib.sha256(str(program).encode()).hexdigest()[:12]}"
    link = folder / f"ffmpeg{program.suffix if program.suffix == '.exe' else ''}"
    if not link.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Made beside and moved into place, because two commands may start at once.
        temporary = folder / f"{link.name}.{os.getpid()}"
        try:
            temporary.symlink_to(program)
        except OSError:  # a file system or a Windows account without links
            shutil.copy2(program, temporary)
        temporary.replace(link)
    return folder


def guard_viewer(*, warn_of_network: bool = False) -> None:
    """Let viser's server answer only what `ViewerGuard` lets pass, if viser is loaded; once is enough.

    viser 0.2.7, which nerfstudio 1.1.5 pins, hands out any file that the process may read, and lets any web page
    control the viewer. Its handler of requests is a local function without a hook, so that the one it gives to
    `websockets.server.serve` is wrapped: viser's module gets stand-ins for `websockets` and `websockets.server`.

    Args:
        warn_of_network: Also say so when a server that is started from now on can be reached from other machines.
    """
    viser: Any = sys.modules.get("viser.infra._infra")
    if viser is None:
        return
    if not isinstance(getattr(viser, "websockets", None), _StandIn):
        if not _is_guardable(viser):
            _say_once(
                "The viewer is left as it is: this is not the viser 0.2.7 that nerfstudio 1.1.5 asks for, and it is "
                "not known here how its server is kept from handing out other files."
            )
            return
        server = _StandIn(viser.websockets.server, serve=_GuardedServe(viser.websockets.server))
        viser.websockets = _StandIn(viser.websockets, server=server)
    viser.websockets.server.serve.warns_of_network |= warn_of_network


def _is_guardable(viser: Any) -> bool:
    # Its server is made by `websockets.server.serve`, and a local function, the handler, sees the served folder.
    code = getattr(getattr(getattr(viser, "WebsockServer", None), "_background_worker", None), "__code__", None)
    return (
        hasattr(getattr(viser, "websockets", None), "server")
        and isinstance(code, CodeType)
        and {"websockets", "server", "serve"} <= set(code.co_names)
        and any("http_server_root" in inner.co_freevars for inner in code.co_consts if isinstance(inner, CodeType))
    )


class _StandIn:
    """A module with some members replaced, for one importer alone."""

    def __init__(self, module: Any, **replaced: Any) -> None:
        self.__dict__.update(replaced)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _GuardedServe:
    """`websockets.server.serve` as viser calls it, with a guard before its handler of requests."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.warns_of_network = False

    def __call__(self, handler: Any, host: Any, port: int, *, process_request: Any = None, **options: Any) -> Any:
        # An exception in here would leave the process waiting for a server that never comes.
        bound_host = host if isinstance(host, str) else None
        if self.warns_of_network and not is_loopback(bound_host):
            self.warns_of_network = False  # viser calls again with the next port where one is taken
            _say(
                f"The viewer listens on {host}: anybody on the network can see the scene and control the viewer; "
                "--viewer.websocket-host 127.0.0.1 keeps it to this machine, and "
                f"`ssh -L {port}:localhost:{port} THIS_MACHINE` opens it from another one."
            )
        folder = inspect.getclosurevars(process_request).nonlocals["http_server_root"] if process_request else None
        guard = ViewerGuard(folder, bound_host, os.environ.get(HOSTS_VARIABLE, ""))
        guarded = _guarded(guard, process_request)
        return self._server.serve(handler, host, port, process_request=guarded, **options)


def _guarded(guard: ViewerGuard, process_request: Callable[..., Awaitable[Any]] | None) -> Callable[..., Any]:
    async def guarded(path: str, headers: Any) -> Any:
        refusal = guard.refusal(path, headers.raw_items())
        if refusal is not None:
            return refusal.status, {}, f"{refusal.sentence}\n".encode()
        # viser would answer a WebSocket that it does not recognize (it compares with case) as a file, unchecked.
        if process_request is None or is_websocket(headers.raw_items()):
            return None
        return await process_request(path, headers)

    return guarded


def draw_labels_in_class_colors(colorize: Callable[[Tensor], Tensor]) -> None:
    """Let `ns-render dataset` draw the labels of a scene (`gt-semantics`) in the colours of its classes.

    nerfstudio offers every entry of a batch as an output, and then has no colours for integers. The last model that
    was built decides; nothing else in nerfstudio draws integers.

    Args:
        colorize: colours [H, W, 3] in 0..1 of classes [H, W].
    """
    from nerfstudio.utils import colormaps

    original = getattr(colormaps.apply_colormap, "original", colormaps.apply_colormap)

    def apply_colormap(image: Any, *arguments: Any, **options: Any) -> Tensor:
        if not isinstance(image, Tensor):
            raise SceneError(
                f"Expected an output that is an image for --rendered-output-names, found the value {image!r}; leave "
                "out gt-image_idx."
            )
        is_label = image.shape[-1:] == (1,) and not image.is_floating_point() and image.dtype != torch.bool
        return colorize(image[..., 0]) if is_label else original(image, *arguments, **options)

    apply_colormap.original = original  # pyright: ignore[reportFunctionMemberAccess]
    colormaps.apply_colormap = apply_colormap


class LpipsIfAvailable:
    """Stands in for torchmetrics' LPIPS, whose constructor downloads AlexNet.

    The real metric is built at the first use, and only if its weights are already in torch's hub folder
    (`$TORCH_HOME/hub/checkpoints`). It is no module of the model, so its 2.5 million weights stay out of checkpoints.
    """

    def __init__(self, **options: Any) -> None:
        """Store the options of `torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity`."""
        self._options = options
        self._metric: torch.nn.Module | None = None
        self._missing = False

    @property
    def available(self) -> bool:
        """Whether LPIPS can be computed without a download; if not, says so once."""
        if self._metric is None and not self._missing:
            self._metric = self._build()
            self._missing = self._metric is None
        return self._metric is not None

    def __call__(self, image: Tensor, reference: Tensor) -> Tensor:
        """Compare two batches of images [N, 3, H, W] with values in 0..1; NaN if `available` is false."""
        if not self.available:
            return torch.tensor(float("nan"))
        metric = cast(torch.nn.Module, self._metric).to(image.device)
        return metric(image, reference)

    def _build(self) -> torch.nn.Module | None:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        weights = _alexnet_weights()
        if not weights.is_file():
            _say(f"LPIPS is left out: its AlexNet weights are not at {weights} (nothing is downloaded here).")
            return None
        try:
            return LearnedPerceptualImagePatchSimilarity(**self._options)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            _say(f"LPIPS is left out: {weights} is not AlexNet's weights ({str(error).splitlines()[0]}).")
            return None


def _alexnet_weights() -> Path:
    from torchvision.models import AlexNet_Weights

    return Path(torch.hub.get_dir()) / "checkpoints" / Path(AlexNet_Weights.IMAGENET1K_V1.url).name


def _say(sentence: str) -> None:
    CONSOLE.print(sentence, style="yellow", markup=False, soft_wrap=True)


@cache
def _say_once(sentence: str) -> None:
    _say(sentence)


@contextmanager
def without_lpips_download() -> Iterator[None]:
    """Within this context a model gets `LpipsIfAvailable` where it asks torchmetrics for LPIPS.

    Wrap `super().populate_modules()` in it: nerfstudio's models build LPIPS there, and with it download AlexNet.
    """
    from torchmetrics.image import lpip

    original = lpip.LearnedPerceptualImagePatchSimilarity
    lpip.LearnedPerceptualImagePatchSimilarity = LpipsIfAvailable  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        lpip.LearnedPerceptualImagePatchSimilarity = original
