"""`application/octet-stream` is what a client says that knows nothing: the type is guessed, and guessed again under another name."""

import base64

import httpx

from served import new_key, outputfs, served

UNKNOWN = "application/octet-stream"
B64 = base64.b64encode(b"a,b\n").decode()

with served() as base:
    api = httpx.Client(base_url=base, headers={"authorization": f"Bearer {new_key('types')}"})

    def form(name, data=b"a,b\n", part=UNKNOWN, **fields):
        files = {"file": (name.rsplit("/", 1)[-1], data, part)}
        answer = api.post("/v1/artifacts", files=files, data={"session_id": "t", "filename": name, **fields})
        return answer.raise_for_status().json()

    def announced(name, data, **fields):
        body = {"filename": name, "size_bytes": len(data), "session_id": "t", **fields}
        asked = api.post("/v1/artifacts/upload-url", json=body).raise_for_status().json()
        httpx.put(asked["upload_url"], content=data, headers=asked["upload_headers"]).raise_for_status()
        return api.post(f"/v1/artifacts/{asked['artifact_id']}/complete").raise_for_status().json()

    def typed(name):
        (found,) = api.get("/v1/artifacts", params={"session_id": "t", "filename": name}).raise_for_status().json()["artifacts"]
        return found["content_type"]

    made = [
        form("part.csv"),
        form("field.csv", content_type=UNKNOWN),
        form("words.csv", content_type="Application/Octet-Stream"),
        api.post("/v1/artifacts", json={"session_id": "t", "filename": "j.csv", "content": B64, "content_type": UNKNOWN}).raise_for_status().json(),
        announced("u.csv", b"a,b\n", content_type=UNKNOWN),
    ]
    assert [a["content_type"] for a in made] == ["text/csv"] * 5, made

    # What somebody set stays: under the same bytes sent again by who knows nothing, and under another name.
    assert form("set.csv", content_type="x/y")["content_type"] == "x/y"
    again = form("set.csv")
    assert (again["content_type"], again["outcome"]) == ("x/y", "unchanged"), again
    assert form("part2.csv", part="x/z")["content_type"] == "x/z", "a part's own type is somebody's word"

    moves = "; ".join(f"mv m/{n}.csv m/{n}.md" for n in ["part", "field", "j", "u", "set"])
    outputfs("run", "--session", "t", "--mount", "m", "--http", "off", "--", "sh", "-ec", moves)
    assert [typed(f"{n}.md") for n in ["part", "field", "j", "u", "set"]] == ["text/markdown"] * 4 + ["x/y"]

print("all well")
