"""Errors of file access. Their messages tell a user what to do."""


class StorageError(OSError):
    """Files could not be reached after several attempts. A later start of the job may succeed."""


class AddressRefused(StorageError):
    """The address, the credentials or the permissions are wrong. Another attempt cannot succeed."""


class Damaged(ValueError):
    """A file was cut short or altered after it was written."""
