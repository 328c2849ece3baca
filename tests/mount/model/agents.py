# One agent at work in a session: a JSON array a line in, its outcome a line out.
import json, os, sys

FLAGS = {"write": os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "append": os.O_WRONLY | os.O_CREAT | os.O_APPEND}


def save(way, path, text):
    fd = os.open(path, FLAGS[way], 0o644)
    os.write(fd, text.encode())
    os.close(fd)


def read(path):
    with open(path) as f:
        return f.read()


def ident(path):
    return os.getxattr(path, "user.artifact.id").decode()


def earlier(path):
    """ID and content of each version that `.versions` shows, the oldest first."""
    dir = f".versions/{path}"
    names = sorted(os.listdir(dir), key=int) if os.path.exists(dir) else []
    return [[ident(f"{dir}/{n}"), read(f"{dir}/{n}")] for n in names]


OPS = {
    "write": lambda path, text: save("write", path, text),
    "append": lambda path, text: save("append", path, text),
    "label": lambda path, value: os.setxattr(path, "user.stage", value.encode()),
    "read": read,
    "id": ident,
    "by-id": lambda: sorted(os.listdir(".by-id")),
    "earlier": earlier,
    "agent": lambda path: os.getxattr(path, "user.artifact.agent_id").decode(),
    "stage": lambda path: os.getxattr(path, "user.stage").decode(),
}

for line in sys.stdin:
    op, *args = json.loads(line)
    print(json.dumps(OPS[op](*args)), flush=True)
