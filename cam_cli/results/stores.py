"""The store of results at a location: a folder of this machine, or a prefix of keys in an object store."""

from cam_cli.results.disk_store import DiskResultStore
from cam_cli.results.object_store import ObjectResultStore
from cam_cli.results.shard import Shard
from cam_cli.results.store import ResultStore
from cam_cli.storage.location import Location, Url


def result_store_at(location: Location, shard: Shard) -> ResultStore:
    """Return the store of results at a location; raises UsageError if what talks to such a store is not installed."""
    return ObjectResultStore(location, shard) if isinstance(location, Url) else DiskResultStore(location, shard)
