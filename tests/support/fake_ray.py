"""A Ray of one thread: tasks run when they are waited for, and some of them are lost."""

from types import ModuleType, SimpleNamespace
from typing import Any

GIB = 2**30


class RayError(Exception):
    pass


class FakeRay(ModuleType):
    """The part of Ray that a batch uses. Scenes in `lost` raise what Ray raises when it gives a task up.

    The tasks of a deaf one do not end when they are asked to.
    """

    def __init__(self, *nodes: dict[str, float], lost: tuple[str, ...] = (), is_deaf: bool = False) -> None:
        super().__init__("ray")
        self._nodes, self._lost, self._deaf = nodes, lost, is_deaf
        self.exceptions = SimpleNamespace(RayError=RayError)
        self.calls: list[tuple[str, Any]] = []

    def init(self, **options: Any) -> None:
        if not self._nodes:
            raise ConnectionError("Could not find any running Ray instance.")
        self.calls.append(("init", options["address"]))

    def nodes(self) -> list[dict[str, Any]]:
        dead = {"Alive": False, "Resources": {"CPU": 1000.0, "GPU": 8.0}}
        return [dead, *({"Alive": True, "Resources": node} for node in self._nodes)]

    def remote(self, **options: Any) -> Any:
        self.calls.append(("remote", options))
        return lambda function: SimpleNamespace(
            options=lambda name: SimpleNamespace(remote=lambda *arguments: _Reference(name, function, arguments))
        )

    def wait(
        self, references: list["_Reference"], num_returns: int, timeout: float | None = None
    ) -> tuple[list["_Reference"], list["_Reference"]]:
        if timeout is not None and self._deaf:
            return [], references
        return references[-num_returns:], references[:-num_returns]

    def get(self, reference: "_Reference") -> Any:
        if reference.name in self._lost:
            raise RayError(f"The node of {reference.name} has died.")
        return reference.function(*reference.arguments)

    def cancel(self, reference: "_Reference", force: bool) -> None:
        self.calls.append(("cancel by force" if force else "cancel", reference.name))

    def shutdown(self) -> None:
        self.calls.append(("shutdown", None))


class _Reference:
    def __init__(self, name: str, function: Any, arguments: tuple[Any, ...]) -> None:
        self.name, self.function, self.arguments = name, function, arguments
