"""What the published client pushes inside a step belongs to the step's attempt; runs tell of what they wrote."""

import json
import os
import pathlib
import subprocess
import sys

from artifacta import Client

from served import BINARY, STORE, new_key, outputfs, served

PUSH = """
import os, sys
from artifacta import Client
env = os.environ
for name in ("SESSION_ID", "AGENT_ID", "STEP", "ATTEMPT", "TTL"):
    assert env["OUTPUTFS_" + name] == env["ARTIFACTA_" + name], name
client = Client(api_key=env["ARTIFACTA_API_KEY"], base_url=env["ARTIFACTA_API_URL"])
made = client.push(content=sys.argv[1].encode(), filename=f"report_{sys.argv[1]}.txt")
assert (made.session_id, made.agent_id) == ("s1", "writer-7"), made.to_dict()
open("outputs/by_mount", "w").write(sys.argv[1])
open("key", "w").write(env["ARTIFACTA_API_KEY"])
sys.exit(int(sys.argv[2]))
"""


def listed(*words):
    return json.loads(outputfs(*words, "--json").stdout)


def names():
    return sorted(a["filename"] for a in listed("ls", "s1"))


def attempt(base, key, text, code):
    """One `outputfs run --step`, its environment in the words of the published client."""
    env = os.environ | {
        "ARTIFACTA_API_KEY": key, "ARTIFACTA_API_URL": base, "ARTIFACTA_SESSION_ID": "s1", "ARTIFACTA_AGENT_ID": "writer-7",
        "ARTIFACTA_TTL": "9d",
    }
    words = [BINARY, "run", *STORE, "--http", "off", "--step", "report", "--report", "report.json"]
    done = subprocess.run([*words, "--", sys.executable, "-c", PUSH, text, str(code)], env=env, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return json.loads(pathlib.Path("report.json").read_text()), done.stderr


with served() as base:
    key = new_key("--scope", "read,write")
    client = Client(api_key=key, base_url=base)
    client.push(content=b"by nobody's step", filename="other.txt", session_id="s1")
    report, said = attempt(base, key, "one", 3)
    assert sorted(a["filename"] for a in report["artifacts"]) == ["by_mount", "report_one.txt"], report
    assert "other.txt" not in said and "report_one.txt" in said, said
    report, said = attempt(base, key, "two", 0)
    assert sorted(a["filename"] for a in report["artifacts"]) == ["by_mount", "report_two.txt"], report
    assert names() == ["by_mount", "other.txt", "report_two.txt"], names()

    # Every door tells the same of it.
    for name, door in (("report_two.txt", "http"), ("by_mount", "mount")):
        inspected = listed("inspect", f"s1/{name}")
        rest = client._request("GET", f"/v1/artifacts/{inspected['artifact_id']}").json()
        for record in (inspected, rest):
            assert record["step"] == "report", record
            assert record["attempt"] == {"step": "report", "number": 2, "state": "succeeded"}, record
            assert record["provenance"]["door"] == door and record["provenance"]["run"].startswith("run_"), record
        assert inspected["provenance"] == rest["provenance"], (inspected, rest)
    origin = inspected["provenance"]
    assert origin["argv0"] == sys.executable and origin["cwd"] == os.getcwd() and origin["host"] == os.uname().nodename, origin
    assert origin["pid"] > 0 and "script" not in origin and "process" not in origin, origin
    pathlib.Path("make.py").write_text("open('outputs/x', 'w').write('x')")
    outputfs("run", "--session", "s1", "--http", "off", "--", sys.executable, "-u", "make.py")
    assert listed("inspect", "s1/x")["provenance"]["script"] == "make.py"

    # The run's key ended with it, and nobody's list shows it.
    try:
        Client(api_key=pathlib.Path("key").read_text(), base_url=base).whoami()
        raise AssertionError("the key of a run that has ended still opens")
    except Exception as e:
        assert getattr(e, "status", 401) == 401, e
    assert len(listed("key", "ls")) == 1

    # A run tells of what it wrote, and of nothing else.
    done = outputfs("run", "--session", "s1", "--http", "off", "--report", "-", "--", "true")
    assert json.loads(done.stdout)["artifacts"] == [] and "art_" not in done.stderr, done
print("all well")
