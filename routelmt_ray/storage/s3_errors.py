"""Turns the errors of S3 into messages for a user, and tells which of them may pass."""

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from botocore import exceptions as boto

from routelmt_ray.storage.errors import AddressRefused, StorageError
from routelmt_ray.storage.paths import S3Path

_CREDENTIALS = {
    "AuthFailure", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidSecurity", "InvalidToken",
    "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired",
}  # fmt: skip
_REGION = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "301", "307"}
_UNFIT = (
    boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError, boto.ProfileNotFound,
    boto.TokenRetrievalError, boto.UnauthorizedSSOTokenError, boto.SSOTokenLoadError,
)  # fmt: skip
_PASSING = {"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "SlowDown", "Throttling"}


class Unmet(Exception):
    """A condition of a request was not met."""


class OutOfRange(Exception):
    """The requested bytes do not exist."""


def is_temporary(error: Exception) -> bool:
    """Tells whether another attempt may succeed after an error. s3fs itself retries some more."""
    if isinstance(error, boto.ClientError):
        answer = error.response
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status == 429 or answer["Error"].get("Code") in _PASSING
    return isinstance(error, boto.ConnectionError)


@contextmanager
def explaining(path: S3Path) -> Iterator[None]:
    """Turns an error of S3 or botocore into a message for a user: FileNotFoundError if there is no such object,
    AddressRefused if the user has to change something, and StorageError if S3 failed, or could not be reached."""
    try:
        yield
    except (StorageError, Unmet, OutOfRange):
        raise
    except (OSError, aiohttp.ClientError, boto.BotoCoreError, boto.ClientError) as error:
        raise _translated(path, error) from None


def _translated(path: S3Path, error: BaseException) -> Exception:
    said = error if isinstance(error, boto.ClientError) else error.__cause__
    if isinstance(said, boto.ClientError):
        code = str(said.response["Error"].get("Code", ""))
        status = said.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "NoSuchBucket":
            return AddressRefused(f"{path}: there is no bucket {path.bucket}; correct the address, or make the bucket")
        if status == 404:
            return FileNotFoundError(str(path))
        if status == 412:
            return Unmet()
        if status == 416:
            return OutOfRange()
        if code in _CREDENTIALS:
            return AddressRefused(
                f"{path}: S3 does not accept the credentials ({code}); renew them, or see AWS_PROFILE"
            )
        if code in _REGION:
            return AddressRefused(f"{path}: the bucket is in another region ({code}); set AWS_REGION to that one")
        if status in (401, 403):
            action = said.operation_name
            return AddressRefused(
                f"{path}: no permission for {action} ({code}); a run reads, lists, writes and deletes below its run_dir, and "
                "reads and lists its input"
            )
        if not is_temporary(said):
            return AddressRefused(f"{path}: S3 refuses {said.operation_name} ({code}, status {status})")
        return StorageError(f"{path}: S3 goes on failing {said.operation_name} ({code}, status {status})")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(str(path))
    if isinstance(error, _UNFIT):
        return AddressRefused(
            f"{path}: no credentials ({type(error).__name__}); set AWS_PROFILE or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, on every machine of the cluster"
        )
    if isinstance(
        error, aiohttp.ClientError | boto.ConnectionError | boto.HTTPClientError
    ):  # their own words name the endpoint
        return StorageError(
            f"{path}: S3 cannot be reached ({type(error).__name__}); see the network and AWS_ENDPOINT_URL"
        )
    return StorageError(f"{path}: {type(error).__name__}: {error}")
