#!/usr/bin/env python3
"""100 × 1 MiB written twice with the same bytes: how many artifacts are new the second time.
(The harness's test g counts the bytes that went to S3.) Only mounts of ours have artifacts."""
import os
from _turns import arguments, finish

args = arguments()
result = {}
for name, d in args.dirs.items():
    if name == 'ext4': continue
    data = [os.urandom(1 << 20) for _ in range(100)]

    def write():
        for i, b in enumerate(data):
            with open(f'{d}/m{i:03d}.bin', 'wb', buffering=0) as f: f.write(b)
        return [os.getxattr(f'{d}/m{i:03d}.bin', 'user.artifact.id') for i in range(len(data))]
    first = write()
    result[name] = {'new_artifacts': sum(a != b for a, b in zip(first, write()))}
finish(args, result)
