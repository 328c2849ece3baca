#!/usr/bin/env python3
"""Sequential writes through one open file: 1 GiB in 1 MiB calls, 128 MiB in 4 KiB calls.
MB/s of the writes alone, and with the close (which, where close means stored, includes the upload)."""
import os
from _turns import arguments, finish, now, take_turns

args = arguments()
SHAPES = {'1GiB_by_1MiB': (1 << 20, 1024), '128MiB_by_4KiB': (4096, 32768)}


def case(d, size, calls):
    # 64 different buffers: nothing on the way may profit from repetition within a MiB.
    bufs = [os.urandom(size) for _ in range(64)]

    def run(rep):
        p = os.path.join(d, f'w{size}_{rep}')
        fd = os.open(p, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        t0 = now()
        for i in range(calls):
            if os.write(fd, bufs[i & 63]) != size:
                raise OSError('short write')
        t1 = now()
        os.close(fd)
        t2 = now()
        if os.stat(p).st_size != size * calls:
            raise OSError('wrong size')
        os.unlink(p)
        mb = size * calls / 1e6
        return {'MB_s': mb / (t1 - t0), 'close_MB_s': mb / (t2 - t0)}
    return run


finish(args, {shape: take_turns(max(args.reps, 3 if s[0] > 4096 else 5), {n: case(d, *s) for n, d in args.dirs.items()}) for shape, s in SHAPES.items()})
