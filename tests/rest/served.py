"""Starts `outputfs serve` and makes keys, for the scripts beside this one."""

import contextlib
import json
import re
import subprocess
import sys

# BINARY COMMAND-LINE-OF-THE-STORE…
BINARY, STORE = sys.argv[1], sys.argv[2:]
DEADLINE = 30


def outputfs(*words, check=True):
    done = subprocess.run([BINARY, words[0], *STORE, *words[1:]], capture_output=True, text=True, timeout=DEADLINE)
    assert not check or done.returncode == 0, (words, done.stderr)
    return done


def new_key(*options):
    return json.loads(outputfs("key", "create", *options, "--json").stdout)["key"]


@contextlib.contextmanager
def served(*options):
    """The base URL of a server that ends well with the block."""
    server = subprocess.Popen(
        [BINARY, "serve", *STORE, "--http", "127.0.0.1:0", *options], stderr=subprocess.PIPE, text=True
    )
    try:
        for line in server.stderr:
            if found := re.search(r"links are served at (https?://\S+)", line):
                break
        yield found[1]
    finally:
        server.terminate()
        code = server.wait(DEADLINE)
    assert code == 0, code
