"""IDs that were told stay, whichever door told them; the same bytes with other words; one state at every door."""

import json
import os
import pathlib
import subprocess
import sys

from artifacta import Client

MOUNT = pathlib.Path(sys.argv.pop())

from served import BINARY, STORE, new_key, outputfs, served  # noqa: E402 (it reads what is left of sys.argv)

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "mcp"))


def xattr(name, path="told.txt"):
    return os.getxattr(MOUNT / path, name).decode()


def listed(*words):
    return json.loads(outputfs(*words, "--json").stdout)


class Mcp:
    """A client on the standard input of `outputfs mcp`."""

    def __init__(self):
        words = [BINARY, "mcp", *STORE]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.n = 0
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        self.ask("initialize", hello)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def send(self, message):
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def ask(self, method, params):
        self.n += 1
        self.send({"jsonrpc": "2.0", "id": self.n, "method": method, "params": params})
        for line in self.process.stdout:
            if (answer := json.loads(line)).get("id") == self.n:
                return answer["result"]

    def tool(self, name, **arguments):
        return self.ask("tools/call", {"name": name, "arguments": arguments})["structuredContent"]

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(30) == 0


def ids_that_were_told_stay(client, mcp):
    write = (MOUNT / "told.txt").write_text
    doors = {
        "id": lambda: xattr("user.artifact.id"),
        "record": lambda: json.loads(xattr("user.artifact"))["artifact_id"],
        ".by-id": lambda: max(os.listdir(MOUNT / ".by-id")),
        "ls": lambda: listed("ls", "s1")[0]["artifact_id"],
        "inspect": lambda: listed("inspect", "s1/told.txt")["artifact_id"],
        "log": lambda: listed("log", "s1")[-1]["artifact_id"],
        "list": lambda: client.list(session_id="s1")[0].id,
        "mcp": lambda: mcp.tool("get_artifact", artifact_id="s1/told.txt")["artifact_id"],
    }
    told = {}
    for door, ask in doors.items():
        # What nobody was told of makes room; what was told stays.
        for text in ("a", "b", f"told by {door}"):
            write(text)
        told[door] = ask()
    write("the end")
    for door, artifact in told.items():
        assert client.pull_bytes(artifact) == f"told by {door}".encode(), door
        assert (MOUNT / ".by-id" / artifact).read_text() == f"told by {door}", door
    versions = [(MOUNT / ".versions/told.txt" / n).read_text() for n in sorted(os.listdir(MOUNT / ".versions/told.txt"), key=int)]
    assert versions == [f"told by {door}" for door in doors] + ["the end"], versions
    # `.versions` itself is such a door.
    write("after the list")
    assert len(os.listdir(MOUNT / ".versions/told.txt")) == len(doors) + 2
    # One open file: its own versions are one, but for what was told.
    with open(MOUNT / "handle", "w") as f:
        for text in "abc":
            f.write(text)
            f.flush()
            os.close(os.dup(f.fileno()))
            if text == "b":
                kept = xattr("user.artifact.id", "handle")
    assert client.pull_bytes(kept) == b"ab" and len(os.listdir(MOUNT / ".versions/handle")) == 2


def two_agents(client):
    """Whoever has other labels, or is another process, makes a version of its own."""
    for agent in ("a", "b", "b"):
        script = f"echo {agent} $$ > two.txt; echo {agent} $$ again > two.txt"
        subprocess.run(["sh", "-c", script], cwd=MOUNT, env=os.environ | {"OUTPUTFS_AGENT_ID": agent}, check=True)
    agents = [v["agent_id"] for v in listed("inspect", "--versions", "s1/two.txt")]
    assert agents == ["a", "b", "b"], agents
    # A second writer beside the first: each close is its own process's.
    env = os.environ | {"OUTPUTFS_AGENT_ID": "second"}
    with open(MOUNT / "both.txt", "a") as f:
        f.write("first\n")
        f.flush()
        os.close(os.dup(f.fileno()))
        subprocess.run(["sh", "-c", "echo second >> both.txt"], cwd=MOUNT, env=env, check=True)
        assert [v["agent_id"] for v in listed("inspect", "--versions", "s1/both.txt")] == [None, "second"]


def the_same_bytes_with_other_words(client, mcp):
    def push(*words, text="same", env={}):
        done = subprocess.run(
            [BINARY, "push", *STORE, *words, "-", "s1/same.txt", "--json"],
            input=text, text=True, capture_output=True, env=os.environ | env, check=True,
        )
        return json.loads(done.stdout)[0]

    first = push("--meta", "stage=draft", "--ttl", "2d")
    assert first["outcome"] == "created"
    assert push()["outcome"] == "unchanged"
    assert push("--meta", "stage=draft")["outcome"] == "unchanged"
    again = push("--meta", "stage=final", "--agent", "z", "--ttl", "1h", "--type", "text/x-z")
    assert (again["outcome"], again["artifact_id"], again["version"]) == ("updated", first["artifact_id"], 1), again
    assert (again["metadata"], again["agent_id"], again["content_type"]) == ({"stage": "final"}, "z", "text/x-z"), again
    assert again["expires_at"] == first["expires_at"], "the later of the two"
    longer = push("--ttl", "90d")
    assert longer["outcome"] == "updated" and longer["expires_at"] > first["expires_at"], longer
    # On the mount, found by what was said, and noted who else wrote it.
    assert os.getxattr(MOUNT / "same.txt", "user.stage") == b"final"
    assert [a.id for a in client.list(session_id="s1", metadata={"stage": "final"})] == [first["artifact_id"]]
    noted = push(env={"OUTPUTFS_AGENT_ID": "other", "OUTPUTFS_META_STEP": "7"})
    assert noted["outcome"] == "unchanged" and noted["agent_id"] == "z", noted
    line = listed("log", "s1")[-1]
    assert (line["what"], line["who"], line["detail"]) == ("same", "other", "agent other, step=7"), line
    env = os.environ | {"OUTPUTFS_AGENT_ID": "by mount"}
    subprocess.run(["sh", "-c", "printf same > same.txt"], cwd=MOUNT, env=env, check=True)
    line = listed("log", "s1")[-1]
    assert (line["what"], line["who"], line["artifact_id"]) == ("same", "by mount", first["artifact_id"]), line
    # REST and MCP.
    rest = lambda **labels: client._request(  # noqa: E731
        "POST", "/v1/artifacts", files={"file": ("same.txt", b"same", "text/x-z")}, data={"session_id": "s1"} | labels
    ).json()
    assert rest()["outcome"] == "unchanged"
    updated = rest(metadata='{"stage":"rest"}')
    assert (updated["outcome"], updated["artifact_id"], updated["metadata"]) == ("updated", first["artifact_id"], {"stage": "rest"})
    store = lambda **more: mcp.tool("store_artifact", session_id="s1", filename="same.txt", content="same", **more)  # noqa: E731
    assert store()["outcome"] == "unchanged"
    updated = store(agent_id="mcp")
    assert (updated["outcome"], updated["artifact_id"], updated["agent_id"]) == ("updated", first["artifact_id"], "mcp"), updated
    assert mcp.tool("store_artifact", session_id="s1", filename="same.txt", content="else")["outcome"] == "created"


def one_state(client):
    """What `close()` promised is what every door says, at once."""
    for n in range(20):
        size = 10 if n % 2 else 100_000
        (MOUNT / f"state{n}").write_bytes(os.urandom(size))
        [record] = [a for a in listed("ls", "s1") if a["filename"] == f"state{n}"]
        said = {
            "ls": record["state"],
            "xattr": xattr("user.artifact.state", f"state{n}"),
            "record": json.loads(xattr("user.artifact", f"state{n}"))["state"],
            "rest": client._request("GET", f"/v1/artifacts/{record['artifact_id']}").json()["state"],
            "status": "stored" if json.loads(outputfs("status", "--json").stdout)["pending_artifacts"] == 0 else "pending",
        }
        assert set(said.values()) == {"stored"}, (n, said)


with served() as base:
    client = Client(api_key=new_key(), base_url=base)
    mcp = Mcp()
    ids_that_were_told_stay(client, mcp)
    two_agents(client)
    the_same_bytes_with_other_words(client, mcp)
    mcp.close()
    one_state(client)
print("all well")
