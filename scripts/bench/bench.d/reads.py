#!/usr/bin/env python3
"""Warm reads of 1 GiB, whole in 1 MiB calls and 4 KiB at random, taking turns."""
import mmap, os, random
from _turns import arguments, finish, now, take_turns

args = arguments()
MIB = 1024


def prepare(d):
    p = os.path.join(d, 'big.bin')
    with open(p, 'wb', buffering=0) as f:
        for _ in range(MIB):
            f.write(os.urandom(1 << 20))
    return p


def sequential(p):
    buf = mmap.mmap(-1, 1 << 20)

    def run(_):
        fd, n, t0 = os.open(p, os.O_RDONLY), 0, now()
        while k := os.readv(fd, [buf]):
            n += k
        t = now() - t0
        os.close(fd)
        if n != MIB << 20: raise OSError('short read')
        return {'MB_s': n / 1e6 / t}
    return run


def scattered(p):
    def run(rep):
        rng, fd, ops = random.Random(rep), os.open(p, os.O_RDONLY), 200_000
        at = [rng.randrange(MIB << 8) * 4096 for _ in range(ops)]
        t0 = now()
        for o in at:
            if len(os.pread(fd, 4096, o)) != 4096: raise OSError('short read')
        t = now() - t0
        os.close(fd)
        return {'ops_s': ops / t}
    return run


paths = {n: prepare(d) for n, d in args.dirs.items()}
# Filled by reading, on every file system: pages that writing left behind are larger and faster on ext4.
os.sync()
with open('/proc/sys/vm/drop_caches', 'w') as f: f.write('3')
for p in paths.values(): sequential(p)(0)
reps = max(5, args.reps)
finish(args, {'sequential_1GiB': take_turns(reps, {n: sequential(p) for n, p in paths.items()}),
              'random_4KiB': take_turns(reps, {n: scattered(p) for n, p in paths.items()})})
