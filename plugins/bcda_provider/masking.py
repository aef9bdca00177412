"""Secrets that are not in a connection, and that Airflow's logs must mask anyway."""

from airflow.sdk.log import mask_secret

from bcda.network import proxy_passwords


def mask_proxy_passwords() -> None:
    """Mask the password of every proxy that the environment names, in each form in which it can turn up."""
    for text in proxy_passwords():
        mask_secret(text)
