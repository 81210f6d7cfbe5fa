"""Light modules in the places of those of Airflow's core that the task SDK imports.

The core's own would bring SQLAlchemy, FastAPI and all of Airflow's models: more than half of a worker's
start. The task SDK asks them for the configuration, a timezone, a DAG bundle and the DAGs of a file, which is
what stands here. A DAG file that asks for more is read with all of Airflow (`whole`); a task that does so
while it runs is told what is missing.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from windtunnel.airflow.worker import description
from windtunnel.airflow.worker.tested import STOCK, VERSIONS

_WHERE = f"a stand-in of the lean worker, which leaves out Airflow's core; if you need it, {STOCK}"
"""In the place of a file: Python names it where something cannot be imported."""
_OF_THE_SDK = ("DAG", "Asset", "XComArg")
_DECORATORS = "airflow.sdk.definitions._internal.decorators"
_OBJECT_PATHS = "airflow.sdk.io.path"

_FOR_CONSOLES = ("rich", "httpx._main")
"""structlog and httpx import these where they can, a tenth of the time, to write in colours: not here."""


def install() -> None:
    """Before anything of Airflow is imported."""
    _without_consoles()
    airflow = _package()
    _decorators()
    _providers()
    conf = _configuration(airflow)
    _object_paths()
    _settings(airflow, conf)
    _bundles()
    # Airflow's logging configuration names the class by which an api-server reads logs.
    _module("airflow.utils.log.file_task_handler", FileTaskHandler=type("FileTaskHandler", (), {}))
    _hide_secrets(conf)


def _without_consoles() -> None:
    """Import structlog and httpx as if those were not installed, which both are made for."""
    sys.modules.update(dict.fromkeys(_FOR_CONSOLES))  # type: ignore[arg-type]
    for name in ("structlog", "httpx"):
        importlib.import_module(name)
    for name in _FOR_CONSOLES:
        del sys.modules[name]


def _package() -> ModuleType:
    """`airflow` without what its __init__ does: read the core's configuration, set up its database."""
    spec = importlib.machinery.PathFinder.find_spec("airflow")
    assert spec is not None
    package = importlib.util.module_from_spec(spec)
    # Providers may be installed elsewhere, as in another directory of the Python path.
    package.__path__ = pkgutil.extend_path(package.__path__, "airflow")

    def of_the_sdk(name: str) -> Any:
        if name in _OF_THE_SDK:
            return getattr(importlib.import_module("airflow.sdk"), name)
        raise AttributeError(f"module 'airflow' has no attribute {name!r}: it is {_WHERE}")

    package.__dict__.update(__version__=VERSIONS["apache-airflow-core"], __getattr__=of_the_sdk)
    sys.modules["airflow"] = package
    return package


def _decorators() -> None:
    """A module of the SDK that imports libcst, a tenth of the time, for a function which only operators call
    that run a function's source in another interpreter: the real one is read when they do.
    """

    def remove_task_decorator(python_source: str, task_decorator_name: str) -> Any:
        spec = importlib.machinery.PathFinder.find_spec(
            _DECORATORS, importlib.import_module(_DECORATORS.rpartition(".")[0]).__path__
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.remove_task_decorator(python_source, task_decorator_name)

    def fixup_decorator_warning_stack(func: Any, delta: int = 2) -> None:
        """Has warnings about a decorated function name its caller's line; they name the decorator's."""

    _module(
        _DECORATORS,
        fixup_decorator_warning_stack=fixup_decorator_warning_stack,
        remove_task_decorator=remove_task_decorator,
    )


def _providers() -> None:
    """The configuration holds what providers add to it, and checks what they say of themselves: importing
    jsonschema for that, and checking, is a tenth of the time. Airflow's other processes check it."""
    from airflow.sdk import providers_manager_runtime

    class Unchecked:
        def validate(self, _provider_info: Any) -> None: ...

    providers_manager_runtime.__dict__["_create_provider_info_schema_validator"] = Unchecked


def _object_paths() -> None:
    """The SDK imports fsspec and universal-pathlib, a twentieth of the time, to ask of each templated value
    whether it is an ObjectStoragePath: none is before somebody has imported that."""
    import airflow.sdk

    class OnceImported(type):
        def __instancecheck__(cls, value: Any) -> bool:
            module = sys.modules.get(_OBJECT_PATHS)
            return module is not None and isinstance(value, module.ObjectStoragePath)

    airflow.sdk.__dict__["ObjectStoragePath"] = OnceImported("ObjectStoragePath", (), {})
    importlib.import_module("airflow.sdk.definitions._internal.templater")
    # Whoever asks for it from now on gets the real one.
    del airflow.sdk.__dict__["ObjectStoragePath"]


def _configuration(airflow: ModuleType) -> Any:
    """The SDK's configuration, also where the core's is asked for."""
    description.install()
    from airflow.sdk.configuration import conf, get_sdk_expansion_variables

    home = get_sdk_expansion_variables()["AIRFLOW_HOME"]
    module = _module("airflow.configuration", conf=conf, AIRFLOW_HOME=home)
    airflow.__dict__["configuration"] = module
    return conf


def _settings(airflow: ModuleType, conf: Any) -> None:
    from airflow.sdk._shared.timezones.timezone import local_timezone, parse_timezone

    home = airflow.configuration.AIRFLOW_HOME
    plugins = conf.get("core", "plugins_folder", fallback=str(Path(home, "plugins")))
    sys.path += [folder for folder in (str(Path(home, "config")), plugins) if folder not in sys.path]
    zone = conf.get_mandatory_value("core", "default_timezone")
    airflow.__dict__["settings"] = _module(
        "airflow.settings",
        DAGS_FOLDER=str(Path(conf.get_mandatory_value("core", "dags_folder")).expanduser()),
        PLUGINS_FOLDER=plugins,
        LAZY_LOAD_PROVIDERS=conf.getboolean("core", "lazy_discover_providers", fallback=True),
        TIMEZONE=local_timezone() if zone == "system" else parse_timezone(zone),
        # What the core answers where no policy has another answer.
        get_airflow_context_vars=lambda _context: {},
    )


def _bundles() -> None:
    from windtunnel.airflow.worker.bundles import BundleManager
    from windtunnel.airflow.worker.dag_file import DagFile

    _module("airflow.dag_processing.bundles.manager", DagBundlesManager=BundleManager)
    _module("airflow.dag_processing.dagbag", BundleDagBag=DagFile)


def _hide_secrets(conf: Any) -> None:
    """Which values are hidden in logs: the core's settings tell the SDK so."""
    from airflow.sdk._shared.secrets_masker import DEFAULT_SENSITIVE_FIELDS, _secrets_masker

    masker = _secrets_masker()
    more = conf.get("core", "sensitive_var_conn_names") or ""
    fields = DEFAULT_SENSITIVE_FIELDS | {field.strip() for field in more.split(",") if field.strip()}
    masker.sensitive_variables_fields = list(fields)
    masker.min_length_to_mask = conf.getint("logging", "min_length_masked_secret", fallback=5)
    masker.secret_mask_adapter = conf.getimport("logging", "secret_mask_adapter", fallback=None)
    masker.hide_sensitive_var_conn_fields = conf.getboolean("core", "hide_sensitive_var_conn_fields")


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(members)
    # Python 3.13 names the one, earlier ones the other.
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, origin=_WHERE)
    module.__spec__.has_location = True
    module.__file__ = _WHERE
    sys.modules[name] = module
    return module
