"""Basic authentication of MLflow's server: where its users are kept, and its first password."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from dexsearch.errors import ConfigurationError, EnvironmentFault

PASSWORD, USER = "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_AUTH_ADMIN_USERNAME"
USERS, SETTINGS = "mlflow-users.db", "mlflow-auth.ini"
KNOWN_TO_EVERYBODY = ("password1234", "password", "admin")
SHORTEST_PASSWORD = 12


def authentication_environment(workspace: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Prepare a users' database that only we can read, and return what MLflow needs to find it.

    The password in the environment is that of the administrator when the database is new; later
    it is demanded still, so that nobody starts a server whose password he does not know.

    Raises:
        ConfigurationError: if the password is missing, too short or known to everybody.
        EnvironmentFault: if Flask-WTF is not installed.
    """
    if find_spec("flask_wtf") is None:
        raise EnvironmentFault(
            "--auth needs Flask-WTF, which is not installed",
            hint="pip install 'dexsearch[auth]'",
        )
    password = given.get(PASSWORD, "")
    if len(password) < SHORTEST_PASSWORD or password in KNOWN_TO_EVERYBODY:
        raise ConfigurationError(
            f"--auth needs a password of {SHORTEST_PASSWORD} characters or more in {PASSWORD}, "
            "not one that manuals print",
            hint=f"read -rs {PASSWORD}; export {PASSWORD}; then the same command again",
        )
    users, settings = workspace.absolute() / USERS, workspace.absolute() / SETTINGS
    os.close(os.open(users, os.O_CREAT | os.O_WRONLY, 0o600))
    database = f"sqlite:///{users}".replace("%", "%%")  # MLflow reads it by configparser
    lines = [
        "[mlflow]",
        "default_permission = READ",
        f"database_uri = {database}",
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
    ]
    settings.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {
        PASSWORD: password,
        USER: given.get(USER) or "admin",
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
    }
