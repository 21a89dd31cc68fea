"""Payment terminal operations, from a request on Kafka to its one final outcome.

Its public names are those of `__all__`: a worker in a program of your own. README.md shows one.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.embedded import StartError as StartError
    from worker.embedded import Worker as Worker
    from worker.settings import Settings as Settings
    from worker.settings import SettingsError as SettingsError
    from worker.settings import load as load_settings

__version__ = "0.1.0"
__all__ = ["Settings", "SettingsError", "StartError", "Worker", "load_settings"]

# Where each is. Imported when first asked for: a command need not load the whole worker.
_PLACES = {
    "Settings": ("worker.settings", "Settings"),
    "SettingsError": ("worker.settings", "SettingsError"),
    "StartError": ("worker.embedded", "StartError"),
    "Worker": ("worker.embedded", "Worker"),
    "load_settings": ("worker.settings", "load"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)
