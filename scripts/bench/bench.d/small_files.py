#!/usr/bin/env python3
"""500 files of 4 KiB, one and eight writers, taking turns:
ext4 with fsync per file, each outputfs mount by close alone, and the bare PutObject loop."""
import json, os, subprocess, sys, threading
from _turns import arguments, finish, now, take_turns

args = arguments()
N, SIZE = 500, 4096


def case(d, threads, fsync):
    def run(rep):
        sub = os.path.join(d, f's{threads}_{rep}')
        os.mkdir(sub)
        data = [os.urandom(SIZE) for _ in range(N)]
        errors = []

        def write(first):
            try:
                for i in range(first, N, threads):
                    fd = os.open(f'{sub}/f{i:04d}.txt', os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
                    try:
                        if os.write(fd, data[i]) != SIZE:
                            raise OSError('short write')
                        if fsync:
                            os.fsync(fd)
                    finally:
                        os.close(fd)
            except OSError as e:
                errors.append(e)
        workers = [threading.Thread(target=write, args=(k,)) for k in range(threads)]
        t0 = now()
        for w in workers: w.start()
        for w in workers: w.join()
        t = now() - t0
        if errors: raise errors[0]
        return {'files_s': N / t}
    return run


def put_loop(threads):
    def run(rep):
        out = subprocess.run([os.environ['PUT_LOOP_BIN'], '--files', str(N), '--size', str(SIZE), '--tasks', str(threads), '--reps', '1'],
                             check=True, stdout=subprocess.PIPE, text=True).stdout
        return {'files_s': json.loads(out)['put_loop'][0]['files_s']}
    return run


result = {}
for threads in (1, 8):
    cases = {'put_loop': put_loop(threads)}
    for n, d in args.dirs.items():
        cases[n + '-fsync' if n == 'ext4' else n] = case(d, threads, n == 'ext4')
    # More turns than elsewhere: each is short, and fsync on a shared disk is the noisiest of all.
    result[f'writers_{threads}'] = take_turns(max(5, args.reps), cases)
finish(args, result)
