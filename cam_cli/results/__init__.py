"""OUT and everything in it: file names, manifest, run record, index, locks, shards, on a disk or in an object store."""
