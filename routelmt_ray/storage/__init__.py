"""Reads, lists and publishes the files of a corpus and of a run directory, on this machine or on S3."""

from routelmt_ray.storage.errors import AddressRefused, Damaged, StorageError
from routelmt_ray.storage.files import (
    check_conditions,
    create,
    entries,
    entry,
    exists,
    in_threads,
    leftovers,
    list_names,
    list_tree,
    new_file,
    open_file,
    read_bytes,
    read_json,
    remove,
    remove_tree,
    swap,
    write_bytes,
    write_json,
    write_text,
)
from routelmt_ray.storage.local import TEMPORARY, new_folder
from routelmt_ray.storage.paths import Entry, Location, S3Path, below, is_s3, local_name, path
from routelmt_ray.storage.tables import (
    DAMAGED_MARK,
    READ_OPTIONS,
    Look,
    count_rows,
    look,
    mark_damaged,
    open_table,
    parse_meta,
    publish_table,
    read_meta,
    read_schema,
    read_table,
)

__all__ = [
    "DAMAGED_MARK", "READ_OPTIONS", "TEMPORARY", "AddressRefused", "Damaged", "Entry", "Location", "Look", "S3Path", "StorageError", "below", "check_conditions", "count_rows",
    "create", "entries", "entry", "exists", "in_threads", "is_s3", "leftovers", "list_names", "list_tree", "local_name", "look", "mark_damaged", "new_file", "new_folder",
    "open_file", "open_table", "parse_meta", "path", "publish_table", "read_bytes", "read_json", "read_meta", "read_schema",
    "read_table", "remove", "remove_tree", "swap", "write_bytes", "write_json", "write_text",
]  # fmt: skip
