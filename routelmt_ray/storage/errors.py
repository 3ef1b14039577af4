"""What may go wrong with files, in words a user can act upon."""


class StorageError(OSError):
    """Files could not be reached, though they were asked for again and again; a later start may do better."""


class AddressRefused(StorageError):
    """The address, the credentials or the permissions are wrong: trying again is of no use."""


class Damaged(ValueError):
    """A file was cut short or altered after it was written."""
