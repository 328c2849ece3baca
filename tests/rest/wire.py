"""What goes over the wire beyond what the published client looks at."""

import base64
import json
import re

import httpx

from served import new_key, outputfs, served

ART = re.compile(r"^art_[0-9A-HJKMNP-TV-Z]{26}$")
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


def error(response, status, code):
    assert response.status_code == status, (response.status_code, response.text)
    said = response.json()["error"]
    assert (said["code"], said["status"]) == (code, status) and said["message"], said
    return said


def uploads(api):
    assert api.get("/health").status_code == 200 and httpx.get(f"{api.base_url}/health").status_code == 200
    error(httpx.get(f"{api.base_url}/v1/whoami"), 401, "unauthorized")
    body = {
        "filename": "j.txt", "content": base64.b64encode(b"json").decode(), "session_id": "w1", "agent_id": "a",
        "metadata": {"k": "v"}, "ttl": "7d", "content_type": "text/plain",
    }
    made = api.post("/v1/artifacts", json=body)
    assert made.status_code == 201, made.text
    made = made.json()
    assert ART.match(made["artifact_id"]) and TIME.match(made["created_at"]) and TIME.match(made["expires_at"]), made
    wanted = {"filename": "j.txt", "content_type": "text/plain", "size_bytes": 4, "session_id": "w1", "agent_id": "a", "metadata": {"k": "v"}}
    assert {k: made[k] for k in wanted} == wanted, made
    error(api.post("/v1/artifacts", json=body | {"content": "???"}), 400, "invalid_request")
    error(api.post("/v1/artifacts", json=body | {"session_id": "a/b"}), 400, "invalid_request")
    error(api.post("/v1/artifacts", content=b"{", headers={"content-type": "application/json"}), 400, "invalid_request")
    error(api.post("/v1/artifacts", data={"session_id": "w1"}, files={"other": b"x"}), 400, "invalid_request")
    error(api.post("/v1/artifacts", json=body | {"ttl": "400d"}), 400, "ttl_exceeds_plan_limit")
    error(api.post("/v1/artifacts", json=body | {"ttl": "never"}), 400, "ttl_exceeds_plan_limit")
    error(api.post("/v1/artifacts/upload-url", json={"filename": "x", "size_bytes": 6 << 30}), 413, "file_too_large")
    # The client puts other bytes than it announced.
    asked = api.post("/v1/artifacts/upload-url", json={"filename": "u.bin", "size_bytes": 4, "session_id": "w1"}).json()
    assert asked["upload_method"] == "PUT" and 0 < asked["expires_in"] <= 3600
    httpx.put(asked["upload_url"], content=b"too many", headers=asked["upload_headers"])
    error(api.post(f"/v1/artifacts/{asked['artifact_id']}/complete"), 400, "upload_not_found")
    httpx.put(asked["upload_url"], content=b"four", headers=asked["upload_headers"]).raise_for_status()
    done = api.post(f"/v1/artifacts/{asked['artifact_id']}/complete")
    assert done.status_code == 200 and done.json()["artifact_id"] == asked["artifact_id"], done.text
    again = api.post(f"/v1/artifacts/{asked['artifact_id']}/complete").json()
    assert (done.json()["outcome"], again["outcome"]) == ("created", "unchanged"), (done.text, again)
    assert again | {"outcome": "created"} == done.json(), "done twice, it answers the same"
    # A form with its fields after the file, as any client may send them.
    multi = (
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"late.txt\"\r\n\r\nbytes\r\n"
        "--b\r\nContent-Disposition: form-data; name=\"session_id\"\r\n\r\nw1\r\n--b--\r\n"
    )
    late = api.post("/v1/artifacts", content=multi.encode(), headers={"content-type": "multipart/form-data; boundary=b"})
    assert late.status_code == 201 and late.json()["session_id"] == "w1", late.text
    return made


def lives(api, made):
    at = f"/v1/artifacts/{made['artifact_id']}"
    longer = api.post(f"{at}/extend-ttl", json={"ttl": "20d"}).json()
    assert longer["expires_at"] > made["expires_at"]
    error(api.post(f"{at}/extend-ttl", json={"ttl": "400d"}), 400, "ttl_exceeds_plan_limit")
    error(api.post(f"{at}/extend-ttl", json={"ttl": "later"}), 400, "invalid_request")
    link = api.post(f"{at}/links", json={"expires_in": 60})
    assert link.status_code == 201 and ART.match(link.json()["artifact_id"]), link.text
    link = link.json()
    [listed] = api.get(f"{at}/links").json()["links"]
    assert listed["link_id"] == link["link_id"] and "url" not in listed, "a link's secret is told once"
    assert httpx.get(link["url"]).text == "json"
    assert api.delete(f"/v1/links/{link['link_id']}").status_code == 200
    assert httpx.get(link["url"]).status_code == 410
    error(api.delete("/v1/links/lnk_aaaaaaaa"), 404, "link_not_found")
    url = api.get(f"{at}/download-url").json()
    assert 3500 < url["expires_in"] <= 3600 and httpx.get(url["download_url"]).text == "json", url
    assert httpx.get(url["download_url"], headers={"range": "bytes=1-2"}).text == "so"
    assert httpx.get(url["download_url"].replace("signature=", "signature=0")).status_code == 403


def pages(api, made):
    at = f"/v1/artifacts/{made['artifact_id']}/publish"
    first = api.post(at, json={"title": "Fälle & <b>Zahlen</b>", "visibility": "unlisted", "access": "link"})
    assert first.status_code == 200, first.text
    first = first.json()
    assert api.post(at, json={}).json() == first, "published once, it stays where it is"
    page = httpx.get(first["url"])
    assert page.status_code == 200 and "Fälle &amp; &lt;b&gt;Zahlen&lt;/b&gt;" in page.text and "json" in page.text, page.text
    [src] = set(re.findall(r'href="([^"]*/f/art_[^"?]*)', page.text))
    assert httpx.get(httpx.URL(first["url"]).join(src)).text == "json"
    assert api.delete(at).json()["published"] is False and api.delete(at).status_code == 200
    assert httpx.get(first["url"]).status_code == 410
    again = api.post(at).json()
    assert again["url"] != first["url"] and httpx.get(again["url"]).status_code == 200


def limits(base):
    slow = httpx.Client(base_url=base, headers={"authorization": f"Bearer {new_key('slow', '--rate', '1/3')}"})
    seen = [slow.get("/v1/whoami") for _ in range(4)]
    assert [r.status_code for r in seen] == [200, 200, 200, 429], seen
    assert [r.headers["x-ratelimit-remaining"] for r in seen] == ["2", "1", "0", "0"]
    said = error(seen[3], 429, "rate_limited")
    assert said["retry_after_seconds"] == int(seen[3].headers["retry-after"]) == 1, said
    assert all(r.headers["x-ratelimit-limit"] == "3" and int(r.headers["x-ratelimit-reset"]) > 10**9 for r in seen)
    # From a browser, only the named origin.
    ask = {"origin": "https://app.example.org", "access-control-request-method": "POST"}
    assert httpx.options(f"{base}/v1/artifacts", headers=ask).headers["access-control-allow-origin"] == ask["origin"]
    other = httpx.options(f"{base}/v1/artifacts", headers=ask | {"origin": "https://evil.example.org"})
    assert "access-control-allow-origin" not in other.headers
    assert httpx.get(f"{base}/health", headers={f"x-{n}": "a" * 900 for n in range(90)}).status_code in (200, 431)
    assert httpx.get(f"{base}/health", headers={"x": "a" * (1 << 20)}).status_code == 431


with served("--max-ttl", "90d", "--cors-origin", "https://app.example.org", "--rate-limit", "1000/1000") as base:
    with httpx.Client(base_url=base, headers={"authorization": f"Bearer {new_key()}"}, timeout=30) as api:
        made = uploads(api)
        lives(api, made)
        pages(api, made)
        description = httpx.get(f"{base}/openapi.json").json()
        assert description["openapi"].startswith("3.1") and "/v1/artifacts" in description["paths"]
        ready = httpx.get(f"{base}/health/ready")
        assert ready.status_code == 200 and ready.json() == {"status": "ready", "catalog": "ok", "store": "ok"}, ready.text
        counted = httpx.get(f"{base}/metrics").text
        for line in ['outputfs_commits_total{outcome="new"} 3', 'outputfs_http_requests_total{method="POST",status="201"} 4', "outputfs_pending_artifacts "]:
            assert line in counted, (line, counted)
        docs = httpx.get(f"{base}/docs")
        assert docs.status_code == 200 and "/v1/artifacts" in docs.text and not re.search(r"(src|href)=.https?://", docs.text)
    limits(base)
assert json.loads(outputfs("check", "--read-data", "--json").stdout)
print("all well")
