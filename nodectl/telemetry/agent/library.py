"""libnvidia-ml opened once through pynvml: its functions bound once, its return codes in words."""

import _ctypes
import ctypes
import importlib
import os
import typing

SUCCESS, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, INSUFFICIENT_SIZE = 0, 2, 3, 4, 6, 7
TIMEOUT, FUNCTION_NOT_FOUND, GPU_IS_LOST, RESET_REQUIRED, VERSION_MISMATCH, NOT_READY = 10, 13, 15, 16, 25, 27
UNKNOWN = 999
# What a driver answers to a question that it will never answer on this GPU.
NEVER = frozenset((INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, VERSION_MISMATCH, 22, 26))

# Where drivers put the library when the loader's own search does not find it: containers, GKE, NixOS, WSL.
FOLDERS = (
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/local/nvidia/lib64",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu",
    "/home/kubernetes/bin/nvidia/lib64",
    "/run/opengl-driver/lib",
    "/usr/lib/wsl/lib",
    "/opt/nvidia/lib64",
)


class NoNvml(Exception):
    """NVML cannot be used on this node now; the text says why."""


class Library:
    """An initialised NVML. `module` is pynvml; hot calls are bound by `function` and never pass through it."""

    def __init__(self, module: "typing.Any") -> None:
        self.module = module

    @classmethod
    def open(cls) -> "Library":
        """Loads and initialises NVML.

        Raises:
            NoNvml: no pynvml, no library, no driver, or one that does not fit the library.
        """
        try:
            module: "typing.Any" = importlib.import_module("pynvml")
        except ImportError as error:
            raise NoNvml("pynvml was not sent along (%s)" % error)
        if module.nvmlLib is None:
            module.nvmlLib = _load()
        try:
            module.nvmlInit()
        except module.NVMLError as error:
            hint = ""
            if getattr(error, "value", None) == 18:  # library and kernel module are of different versions
                hint = " (the driver was changed under a loaded kernel module: reload it or reboot)"
            _unload(module)
            raise NoNvml("nvmlInit: %s%s" % (error, hint))
        return cls(module)

    def shut_down(self) -> None:
        function = self.function("nvmlShutdown")
        if function is not None:
            function()

    def function(self, *names: str) -> "typing.Any":
        """The first of these functions that the library has; None if it has none. Newest name first."""
        for name in names:
            try:
                return getattr(self.module.nvmlLib, name)
            except AttributeError:
                continue
        return None

    def says(self, code: int) -> str:
        """A return code in words."""
        try:
            return str(self.module.nvmlErrorString(code)) or "error %d" % code
        except Exception:
            return "error %d" % code

    def why(self, code: int) -> str:
        """Why a field is not there, for people."""
        if code == NO_PERMISSION:
            return "no permission (the driver lets only root read it)"
        if code in (FUNCTION_NOT_FOUND, VERSION_MISMATCH):
            return "this driver is too old for it"
        if code in NEVER:
            return "not supported by this GPU and driver"
        return "NVML: %s" % self.says(code)

    def text(self, name: str, *args: "typing.Any") -> str:
        """What a pynvml wrapper returns as text; empty if it cannot."""
        try:
            value = getattr(self.module, name)(*args)
        except (self.module.NVMLError, AttributeError):
            return ""
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def number(self, name: str, *args: "typing.Any") -> "int | None":
        """What a pynvml wrapper returns as a number; None if it cannot."""
        try:
            return int(getattr(self.module, name)(*args))
        except (self.module.NVMLError, AttributeError, TypeError, ValueError):
            return None


def _unload(module: "typing.Any") -> None:
    """Lets go of the library, so that the next try loads the one that a driver update has put in its place."""
    library, module.nvmlLib = module.nvmlLib, None
    cache = getattr(module, "_nvmlGetFunctionPointer_cache", None)
    if library is None or cache is None:
        return
    cache.clear()
    _ctypes.dlclose(library._handle)


def _load() -> "typing.Any":
    name = "libnvidia-ml.so.1"
    tried = [name] + [os.path.join(folder, name) for folder in FOLDERS]
    first = ""
    for path in tried:
        try:
            return ctypes.CDLL(path)
        except OSError as error:
            first = first or str(error)
            if path == name and "cannot open shared object" not in first:
                break  # it is there, but it cannot be loaded
    raise NoNvml("libnvidia-ml.so.1 cannot be loaded: %s" % first)
