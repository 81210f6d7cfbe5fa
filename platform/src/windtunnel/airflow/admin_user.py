"""`python -m windtunnel.airflow.admin_user`: makes Airflow's administrator, or gives it its password again.

For the installation's job, after `airflow db migrate`. Airflow's own commands take two processes, and the
password as an argument, where everybody who lists processes reads it; here it comes by the environment.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from windtunnel.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Mapping

USERNAME = "AIRFLOW_ADMIN_USERNAME"
PASSWORD = "AIRFLOW_ADMIN_PASSWORD"
_ROLE = "Admin"


def main(environ: Mapping[str, str]) -> None:
    """Idempotent. Raises PermanentError when the environment names no administrator."""
    username, password = environ.get(USERNAME, ""), environ.get(PASSWORD, "")
    if not username or not password:
        raise PermanentError(f"{USERNAME} and {PASSWORD} must both be set", where="environment")
    print(ensure_admin(username, password))


def ensure_admin(username: str, password: str) -> str:
    """Says what it did."""
    # Imported here: with them comes the whole of Airflow's web application.
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
    from airflow.utils.providers_configuration_loader import providers_configuration_loaded

    def ensure() -> str:
        with get_application_builder() as builder:
            security = builder.sm
            user = security.find_user(username=username)
            if user:
                security.reset_password(user.id, password)
                return f"{username} was there; it has its password again"
            email = f"{username}@localhost"
            role = security.find_role(_ROLE)
            if not security.add_user(username, username, _ROLE, email, role, password):
                raise PermanentError(f"Airflow did not make the user {username!r}")
            return f"{username} is made, with the role {_ROLE}"

    return str(providers_configuration_loaded(ensure)())


if __name__ == "__main__":
    main(os.environ)
