"""The DAGs of one Python file: Airflow's BundleDagBag without its database, archives and policies."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.machinery
import importlib.util
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG
from airflow.sdk.configuration import conf
from airflow.sdk.definitions._internal.contextmanager import DagContext
from airflow.sdk.exceptions import AirflowTaskTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, ModuleType


class UnreadableError(Exception):
    """The file is wrong, or it needs more of Airflow than there is: says how it failed."""


class DagFile:
    """Stands in for airflow.dag_processing.dagbag.BundleDagBag, as the task runner makes one.

    Raises UnreadableError.
    """

    def __init__(self, dag_folder: str, *, bundle_path: Path, **_kwargs: Any) -> None:
        self.dags: dict[str, DAG] = {}
        # For what the file imports, and for good: the task imports, too.
        if str(bundle_path) not in sys.path:
            sys.path.append(str(bundle_path))
        path = Path(dag_folder)
        DagContext.autoregistered_dags.clear()
        try:
            with _time_limit(conf.getfloat("core", "dagbag_import_timeout"), path):
                module = _load(path)
            dags = {value for value in vars(module).values() if isinstance(value, DAG)}
            for dag in dags | {dag for dag, _ in DagContext.autoregistered_dags}:
                self._add(dag, path, bundle_path)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # Also a file that ends the process, and the time limit.
            raise UnreadableError(f"{type(error).__name__}: {error}") from error
        finally:
            DagContext.autoregistered_dags.clear()
            DagContext.current_autoregister_module_name = None

    def _add(self, dag: DAG, path: Path, bundle_path: Path) -> None:
        dag.fileloc = str(path)
        dag.relative_fileloc = str(path.relative_to(bundle_path))
        dag.validate()  # type: ignore[no-untyped-call]
        dag.check_cycle()
        dag.resolve_template_files()  # type: ignore[no-untyped-call]
        self.dags[dag.dag_id] = dag


def _load(path: Path) -> ModuleType:
    # By this name what is pickled in a task is found again, wherever else the file is read.
    digest = hashlib.sha1(str(path).encode(), usedforsecurity=False).hexdigest()
    name = f"unusual_prefix_{digest}_{re.sub(r'[.-]', '_', path.stem)}"
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    DagContext.current_autoregister_module_name = name
    loader.exec_module(module)
    return module


@contextlib.contextmanager
def _time_limit(seconds: float, path: Path) -> Iterator[None]:
    """Raises AirflowTaskTimeout after so many seconds; 0 is for ever."""

    def give_up(_signum: int, _frame: FrameType | None) -> None:
        raise AirflowTaskTimeout(
            f"{path} takes more than {seconds:g} s to import; see AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT"
        )

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, max(0.0, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
