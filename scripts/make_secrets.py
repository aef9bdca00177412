"""`make secrets`: the files that docker-compose.yaml reads as secrets, made once. Needs nothing but Python."""

import base64
import json
import secrets
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
FOLDER = PROJECT / "secrets"
TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""Where the libraries that speak HTTP for us look for the certificates they trust."""

SANDBOX = {"host": "https://simulator:8888", "login": "simulated-client", "password": "simulated-secret"}
TO_FILL_IN = {"host": "production", "login": "CLIENT_ID", "password": "CLIENT_SECRET"}


def contents(
    *, postgres: str = "postgres:5432", redis: str = "redis:6379", connection: dict[str, str]
) -> dict[str, str]:
    """Return file name → content, with new keys and passwords.

    Args:
        postgres: host and port of PostgreSQL.
        redis: host and port of Redis.
        connection: address, client id and client secret of `bcda_default`.
    """
    postgres_password, redis_password = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    database = f"airflow:{postgres_password}@{postgres}/airflow"
    return {
        "postgres_password": postgres_password,
        "redis_password": redis_password,
        "sql_alchemy_conn": f"postgresql+psycopg2://{database}",
        "result_backend": f"db+postgresql://{database}",
        "broker_url": f"redis://:{redis_password}@{redis}/0",
        # What Fernet takes as a key: 32 random bytes in URL-safe Base64.
        "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "jwt_secret": secrets.token_hex(64),
        "api_secret_key": secrets.token_hex(64),
        "connections.json": json.dumps({"bcda_default": {"conn_type": "bcda", **connection}}, indent=2) + "\n",
    }


def write(folder: Path, files: dict[str, str]) -> None:
    """Write the files into a folder of one's own.

    Compose mounts a secret with the owner and mode of its file, and the containers run as other users: so the files can
    be read by all and the folder, which no container sees, by its owner only.

    Raises:
        FileExistsError: the folder is there; what it holds is never replaced, since data is encrypted with it.
    """
    folder.mkdir(mode=0o700)
    for name, content in files.items():
        path = folder / name
        path.write_text(content)
        # The connection is filled in by hand; the others are never changed by hand.
        path.chmod(0o644 if name == "connections.json" else 0o444)


def main() -> int:
    """Write the secrets and say what is left to do."""
    sandbox = sys.argv[1:] == ["--sandbox"]
    try:
        write(FOLDER, contents(connection=SANDBOX if sandbox else TO_FILL_IN))
    except FileExistsError:
        print(
            f"{FOLDER} is there already, and stays as it is. Move it away first if you want new keys.", file=sys.stderr
        )
        return 1
    print(f"Written to {FOLDER}. Keep a copy in a safe place: without fernet_key, stored connections cannot be read.")
    if sandbox:
        settings = PROJECT / ".env"
        with settings.open("a") as file:
            file.writelines(f"{name}=/sandbox/simulator.pem\n" for name in TRUST)
        print(f"{settings} now lets the simulator's certificate be trusted, and no other.")
    else:
        print("Now put client id and secret into connections.json there.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
