"""Number formats: how many bits a value takes in storage, scales included."""

from workloads.formats.choice import FormatChoice
from workloads.formats.storage import FORMATS, StorageFormat, storage_format

__all__ = ["FORMATS", "FormatChoice", "StorageFormat", "storage_format"]
