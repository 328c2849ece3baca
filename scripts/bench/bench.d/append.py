#!/usr/bin/env python3
"""1 KiB appended to a file of 16 MiB, 50 times, each by an open and a close of its own: milliseconds an append."""
import os
from _turns import arguments, finish, now, take_turns

N, SIZE = 50, 16 << 20
args = arguments()


def case(d):
    def run(rep):
        path = f'{d}/append{rep}.log'
        with open(path, 'wb', buffering=0) as f: f.write(os.urandom(SIZE))
        line, t = os.urandom(1024), now()
        for _ in range(N):
            with open(path, 'ab', buffering=0) as f: f.write(line)
        took = now() - t
        assert os.stat(path).st_size == SIZE + N * len(line)
        return {'ms_per_append': took / N * 1000}
    return run


finish(args, take_turns(args.reps, {name: case(d) for name, d in args.dirs.items()}))
