"""torn.py A B PID: a close while a write is at work whose times have moved and whose bytes have not.

The write takes its bytes from a mapping of a file on mount B, whose daemon PID is stopped: it stands still in a page fault, inside the
kernel's write. Prints the hash that A has of the file in the end, and that of what the file holds."""
import hashlib, mmap, os, signal, sys, time

a, b, daemon = sys.argv[1], sys.argv[2], int(sys.argv[3])
SIZE = 40_000


def until(what, condition):
    end = time.monotonic() + 20
    while not condition():
        if time.monotonic() > end: sys.exit(f'not within 20 s: {what}')
        time.sleep(0.005)


def stands(pid): return open(f'/proc/{pid}/stat').read().rpartition(') ')[2][0] in 'DSZ' and open(f'/proc/{pid}/wchan').read() != '0'


with open(f'{b}/source', 'wb') as f: f.write(b'N' * SIZE)
source = os.open(f'{b}/source', os.O_RDONLY)
new = mmap.mmap(source, SIZE, prot=mmap.PROT_READ)
fd = os.open(f'{a}/f', os.O_CREAT | os.O_RDWR)
os.write(fd, b'O' * SIZE)
os.close(os.dup(fd))
os.fsync(source)
os.posix_fadvise(source, 0, 0, os.POSIX_FADV_DONTNEED)
os.kill(daemon, signal.SIGSTOP)
try:
    writer = os.fork()
    if writer == 0: os._exit(os.pwrite(fd, memoryview(new), 0) != SIZE)
    until('the writer stands still', lambda: stands(writer))
    closer = os.fork()
    if closer == 0:
        os.close(fd)
        os._exit(0)
    until('the close is on its way', lambda: stands(closer))
finally:
    os.kill(daemon, signal.SIGCONT)
for pid in (writer, closer):
    if os.waitpid(pid, 0)[1] != 0: sys.exit('the writer or the closer failed')
os.close(fd)
print(os.getxattr(f'{a}/f', 'user.artifact.sha256').decode(), hashlib.sha256(open(f'{a}/f', 'rb').read()).hexdigest())
