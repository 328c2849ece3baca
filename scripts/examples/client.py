"""The same pipeline with the published Python client (pip: artifacta-cli): the scripts write into a folder of this machine, the client stores
what each step left. Which server, key and session: ARTIFACTA_API_URL, ARTIFACTA_API_KEY, ARTIFACTA_SESSION_ID.

    client.py FOLDER-OF-THE-SCRIPTS      in an empty folder
"""

import os
import pathlib
import subprocess
import sys

from artifacta import Client

SCRIPTS = pathlib.Path(sys.argv[1])
SESSION = os.environ["ARTIFACTA_SESSION_ID"]
client = Client(api_key=os.environ["ARTIFACTA_API_KEY"], base_url=os.environ["ARTIFACTA_API_URL"])
stored = {}


def step(name):
    """Its files are pushed when it succeeds; a key for each makes a retried push the same one."""
    before = set(stored)
    while subprocess.run([sys.executable, SCRIPTS / f"{name}.py"]).returncode != 0:
        for log in pathlib.Path("outputs").glob("*.log"):
            log.unlink()
    for path in sorted(p for p in pathlib.Path("outputs").rglob("*") if p.is_file()):
        filename = str(path.relative_to("outputs"))
        if filename not in before:
            key = f"{SESSION}-{name}-{filename}"
            stored[filename] = client.push(path, filename=filename, session_id=SESSION, idempotency_key=key, metadata={"step": name})


step("extract")
step("analyze")
client.seal_session(SESSION)
link = client.create_link(stored["report.md"].id)
subprocess.run([sys.executable, SCRIPTS / "notify.py", link.url], check=True)
