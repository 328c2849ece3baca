"""schemathesis over the API's own description: every check on, and no answer of 5xx."""

import os
import pathlib
import subprocess

import httpx

from served import new_key, served

EXAMPLES = "8" if os.environ.get("OUTPUTFS_TEST_QUICK") else "40"

with served("--rate-limit", "100000/100000") as base:
    key = new_key("fuzz", "--scope", "admin")
    with httpx.Client(base_url=base, headers={"authorization": f"Bearer {key}"}) as api:
        api.post("/v1/artifacts", files={"file": ("a.txt", b"x")}, data={"session_id": "s"}).raise_for_status()
    done = subprocess.run(
        ["schemathesis", "--config-file", pathlib.Path(__file__).with_name("schemathesis.toml"), "run", f"{base}/openapi.json", "--header", f"Authorization: Bearer {key}", "--checks", "all",
         "--max-examples", EXAMPLES, "--seed", "1", "--request-timeout", "20", "--no-color", "--generation-database", "none"],
        capture_output=True, text=True, timeout=900,
    )
    print(done.stdout[-20000:])
    assert done.returncode == 0, done.stderr
    assert httpx.get(f"{base}/health").status_code == 200
print("all well")
