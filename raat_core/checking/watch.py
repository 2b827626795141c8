"""What code of a plugin costs and waits for, while it runs, as torch's modes see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from raat_core.checking.places import Code, Place


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation that torch dispatches, those of backward passes too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def see(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        """Called after each."""
        raise NotImplementedError

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """See `TorchDispatchMode`."""
        out = func(*args, **(kwargs or {}))
        self.see(func, args, kwargs or {}, out)
        return out


class _Counter(Watch):  # type: ignore[no-untyped-call]
    """`FlopCounterMode` without its tracking of modules, which fails in `torch.autograd.grad`."""

    total: int = 0

    def see(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.total += count(*args, **kwargs, out_val=out)


def counted_flop(run: Callable[[], object]) -> int:
    """Operations of convolutions and matrix products while `run` runs, backward passes too."""
    counter = _Counter()
    with counter:
        run()
    return counter.total


_WAITS = {
    "aten::_local_scalar_dense": "reading a number from a tensor",
    "aten::nonzero": "`nonzero`",
    "aten::masked_select": "`masked_select`",
    "aten::equal": "`torch.equal`",
    "aten::_unique2": "`unique`",
    "aten::unique_dim": "`unique`",
    "aten::unique_consecutive": "`unique_consecutive`",
    "aten::bincount": "`bincount`",
}
_WAITING_CALLS = {
    "item": "`.item()`",
    "tolist": "`.tolist()`",
    "cpu": "`.cpu()`",
    "numpy": "`.numpy()`",
    "__array__": "NumPy, reading a tensor,",
    "__bool__": "the truth of a tensor",
    "__int__": "`int(tensor)`",
    "__index__": "`int(tensor)`",
    "__float__": "`float(tensor)`",
}


class Waits:
    """Lines of a plugin after which a GPU's host waits for a result, and what makes it wait."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.found: dict[Place, str] = {}

    def __enter__(self) -> Waits:
        self._modes, self._calls = ExitStack(), _WatchCalls(self._note)
        self._modes.enter_context(_WatchOperations(self._note))
        self._modes.enter_context(self._calls)
        return self

    def __exit__(self, *error: object) -> None:
        self._modes.close()

    def _note(self, what: str) -> None:
        if self._calls.checks_values:
            return
        place = self.code.running()
        if place is not None:
            self.found.setdefault(place, what)


class _WatchOperations(Watch):  # type: ignore[no-untyped-call]
    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self.note = note

    def see(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        name = func.overloadpacket._qualified_op_name
        if name in ("aten::index", "aten::index_put_", "aten::index_put") and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
        ):
            self.note("an index that is a boolean mask")
        elif name in _WAITS:
            self.note(_WAITS[name])


class _WatchCalls(TorchFunctionMode):
    """Sees what on a CPU is no operation: `.cpu()`, `.numpy()`."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self.note = note
        self.checks_values = False
        """Whether something runs that looks at values on a CPU alone."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """See `TorchFunctionMode`."""
        name = getattr(func, "__name__", "")
        if name in _WAITING_CALLS:
            self.note(_WAITING_CALLS[name])
        elif name == "to" and "cpu" in [*args[1:], *(kwargs or {}).values()]:
            self.note('`.to("cpu")`')
        given = [*args[1:], *(kwargs or {}).values()]
        self.checks_values = name == "one_hot" and any(each != -1 for each in given)
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.checks_values = False
