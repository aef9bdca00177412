"""Questions about one job: BCDA answers 401 about another organization's, as it does to bad credentials (docs/bcda.md#job-status)."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from bcda.api.client import BcdaClient
from bcda.errors import CredentialsError, InvalidRequestError

T = TypeVar("T")


async def about_job(client: BcdaClient, job_id: str, question: Coroutine[Any, Any, T]) -> T:
    """Await a request about a job, and tell another organization's job from bad credentials.

    Args:
        client: that the question uses.
        job_id: BCDA's number.
        question: a call of the client, not awaited yet.

    Raises:
        InvalidRequestError: the job is another organization's.
        CredentialsError: the credentials are wrong.
    """
    try:
        return await question
    except CredentialsError as error:
        if error.status != 401 or error.reason:  # noqa: PLR2004
            raise
        # Raises what is wrong with the credentials, if it is them.
        await client.welcome()
        raise InvalidRequestError(
            f"Job {job_id} belongs to another organization; BCDA answered 401, and the credentials are right. Check the number "
            "and the connection."
        ) from error
