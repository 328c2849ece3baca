"""The same pipeline with the Python package of outputfs, and no server of its own: it starts one on this machine's state directory.

    package.py FOLDER-OF-THE-SCRIPTS     in an empty folder; OUTPUTFS_SESSION_ID names the session
"""

import pathlib
import subprocess
import sys

import outputfs

SCRIPTS = pathlib.Path(sys.argv[1])
known: set[str] = set()


def step(client: outputfs.Client, name: str) -> None:
    while subprocess.run([sys.executable, SCRIPTS / f"{name}.py"]).returncode != 0:
        for log in pathlib.Path("outputs").glob("*.log"):
            log.unlink()
    for path in sorted(p for p in pathlib.Path("outputs").rglob("*") if p.is_file()):
        filename = str(path.relative_to("outputs"))
        if filename not in known:
            known.add(filename)
            client.push(path, filename, metadata={"step": name})


with outputfs.Client() as client:
    step(client, "extract")
    step(client, "analyze")
    client.seal()
    link = client.link(client.named("report.md").artifact_id)
    subprocess.run([sys.executable, SCRIPTS / "notify.py", link.url], check=True)
