"""A server of this machine's state directory, for as long as a client needs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading

from ._errors import OutputfsError, Unreachable

# A cold start recovers what a crash left first.
_START_SECONDS = 30.0
_RATE = "100000/100000"
"""Requests a second, and at once."""
_STOP_SECONDS = 30.0
_READY = re.compile(rb"links are served at (https?://\S+)")


class LocalServer:
    """``outputfs serve`` on a free port of the loopback address, with a key of its own that goes with it."""

    def __init__(self, state_dir: str | os.PathLike[str] | None = None, program: str = "outputfs") -> None:
        found = shutil.which(program)
        if found is None:
            raise OutputfsError(
                f"no server is named (OUTPUTFS_API_URL) and there is no program '{program}' to start one with",
                code="no_server",
            )
        self._program = found
        self._state = ["--state-dir", os.fspath(state_dir)] if state_dir is not None else []
        # Nobody else has the key: no turn of anybody's is taken by its requests, however many they are.
        own = ("--scope", "read,write", "--rate", _RATE)
        made = json.loads(self._run("key", "create", f"python-{os.getpid()}", *own, "--json"))
        self.key: str = made["key"]
        self._key_id: str = made["key_id"]
        self._process = subprocess.Popen(
            [found, "serve", *self._state, "--http", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            self.url = self._wait()
        except BaseException:
            self.close()
            raise

    def _run(self, command: str, *rest: str) -> str:
        done = subprocess.run([self._program, command, *rest, *self._state], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise OutputfsError(done.stderr.strip() or f"outputfs {command} failed", code="local_server")
        return done.stdout

    def _wait(self) -> str:
        ready, said = threading.Event(), bytearray()

        def drain() -> None:
            # To its end: a pipe that nobody empties would stop the server at its next log line.
            stream = self._process.stderr
            assert stream is not None
            for line in stream:
                if not ready.is_set():
                    said.extend(line)
                    if _READY.search(line):
                        ready.set()
            ready.set()

        threading.Thread(target=drain, name="outputfs-serve", daemon=True).start()
        ready.wait(_START_SECONDS)
        if found := _READY.search(said):
            return found.group(1).decode()
        raise Unreachable(f"outputfs serve did not start: {said.decode(errors='replace').strip()}", code="local_server")

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._key_id:
            key, self._key_id = self._key_id, ""
            self._run("key", "revoke", key)
