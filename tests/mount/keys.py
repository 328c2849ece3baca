"""Two writers on two mounts race for idempotency keys: ROUNDS DIR1 DIR2.

In even rounds both write the same bytes: one artifact, two names. In odd rounds they differ: one close succeeds, the other says
EEXIST and leaves nothing. Prints the number of artifacts that came of it.
"""

import errno
import os
import sys
import threading

ROUNDS, DIRS = int(sys.argv[1]), sys.argv[2:4]
barrier = threading.Barrier(2)
results = [[None] * ROUNDS for _ in DIRS]


def write(who):
    for n in range(ROUNDS):
        path = f"{DIRS[who]}/w{who}-{n}"
        fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
        os.setxattr(fd, "user.artifact.idempotency_key", f"op-{n}".encode())
        os.write(fd, f"round {n}{f' by {who}' if n % 2 else ''}".encode())
        barrier.wait(60)
        try:
            os.close(fd)
            results[who][n] = os.getxattr(path, "user.artifact.id")
        except OSError as e:
            assert e.errno == errno.EEXIST, e
            results[who][n] = None
        barrier.wait(60)


threads = [threading.Thread(target=write, args=(who,)) for who in range(2)]
[t.start() for t in threads]
[t.join() for t in threads]
for n, (a, b) in enumerate(zip(*results)):
    if n % 2 == 0:
        assert a is not None and a == b, (n, a, b)
    else:
        assert (a is None) != (b is None), (n, a, b)
print(len({r for one in results for r in one if r}))
