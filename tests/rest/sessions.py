"""A session goes into the trash as a whole and comes back, over REST as by the command and on the mount."""

import httpx

from served import new_key, outputfs, served

with served() as base:
    key, reader = new_key("sessions", "--scope", "admin"), new_key("looks", "--scope", "read")
    api = httpx.Client(base_url=base, headers={"authorization": f"Bearer {key}"})

    def says(answer, status, code, *words):
        error = answer.json()["error"]
        assert answer.status_code == status and error["code"] == code, answer.text
        assert all(w in error["message"] for w in words), error

    def push(session, name, data):
        form = {"session_id": session, "filename": name}
        api.post("/v1/artifacts", files={"file": (name, data)}, data=form).raise_for_status()

    def names(session):
        listed = api.get("/v1/artifacts", params={"session_id": session}).raise_for_status().json()
        return sorted(a["filename"] for a in listed["artifacts"])

    def sessions():
        return [s["session_id"] for s in api.get("/v1/sessions").raise_for_status().json()["sessions"]]

    for session in ["run_42", "kept"]:
        push(session, "a.txt", b"a")
        push(session, "d/b.txt", b"b")
    before = names("run_42")

    # Who may only read deletes nothing; what there is not cannot go.
    answer = httpx.delete(f"{base}/v1/sessions/run_42", headers={"authorization": f"Bearer {reader}"})
    assert answer.status_code == 403, answer.text
    for strange in ["nothing", "-x", "a" * 300, "%2e%2e%2fkept"]:
        answer = api.delete(f"/v1/sessions/{strange}")
        assert answer.status_code in (400, 404), (strange, answer.text)
    says(api.delete("/v1/sessions/nothing"), 404, "session_not_found", "'nothing'")
    says(api.post("/v1/sessions/run_42/restore"), 404, "session_not_found", "'run_42'", "trash")
    assert sorted(sessions()) == ["kept", "run_42"]

    # It goes whole, once.
    answer = api.delete("/v1/sessions/run_42").raise_for_status().json()
    assert answer == {"session_id": "run_42", "deleted": True, "files": 2, "directories": 1}, answer
    assert sessions() == ["kept"] and names("kept") == before
    says(api.delete("/v1/sessions/run_42"), 410, "session_already_deleted", "run_42", "was deleted at")
    assert "run_42" not in outputfs("session", "ls").stdout

    # Its name is free; then it comes back under another only.
    push("run_42", "new.txt", b"new")
    says(api.post("/v1/sessions/run_42/restore"), 409, "conflict", "new_session_id")
    for bad in ["..", "a/b", ""]:
        says(api.post("/v1/sessions/run_42/restore", json={"new_session_id": bad}), 400, "invalid_request")
    answer = api.post("/v1/sessions/run_42/restore", json={"new_session_id": "old"}).raise_for_status().json()
    assert answer == {"session_id": "old", "files": 2}, answer
    assert names("old") == before and names("run_42") == ["new.txt"]
    api.delete("/v1/sessions/old").raise_for_status()
    assert api.post("/v1/sessions/old/restore").raise_for_status().json()["files"] == 2

    # Sealed, it stays.
    api.post("/v1/sessions/kept/seal").raise_for_status()
    says(api.delete("/v1/sessions/kept"), 409, "session_sealed", "kept")
    assert names("kept") == before
    outputfs("check", "--read-data")
print("all well")
