"""`outputfs serve --tls-cert --tls-key`, with a certificate made here and renewed under it."""

import pathlib
import socket
import ssl
import subprocess
import tempfile
import time

import httpx

from served import BINARY, STORE, new_key, served

WORK = pathlib.Path(tempfile.mkdtemp())


def certificate(name):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", WORK / "new.key", "-out", WORK / "new.pem"],
        check=True, capture_output=True,
    )
    (WORK / "new.key").rename(WORK / "key.pem")
    (WORK / "new.pem").rename(WORK / "cert.pem")


def shown(base):
    host, port = base.removeprefix("https://").split(":")
    return ssl.get_server_certificate((host, int(port)))


certificate("first")
with served("--tls-cert", str(WORK / "cert.pem"), "--tls-key", str(WORK / "key.pem")) as base:
    assert base.startswith("https://"), base
    trusting = ssl.create_default_context(cafile=WORK / "cert.pem")
    with httpx.Client(base_url=base, verify=trusting, headers={"authorization": f"Bearer {new_key()}"}) as api:
        made = api.post("/v1/artifacts", files={"file": ("a.txt", b"over TLS")}).json()
        url = api.get(f"/v1/artifacts/{made['artifact_id']}/download-url").json()["download_url"]
        assert url.startswith("https://") and api.get(url).text == "over TLS"
    first = shown(base)
    assert first.strip() == (WORK / "cert.pem").read_text().strip()
    # Somebody who does not shake hands holds nobody up.
    host, port = base.removeprefix("https://").split(":")
    idle = socket.create_connection((host, int(port)))
    assert httpx.get(f"{base}/health", verify=trusting).status_code == 200
    idle.close()
    certificate("second")
    deadline = time.monotonic() + 20
    while shown(base) == first:
        assert time.monotonic() < deadline, "the new certificate was not noticed"
        time.sleep(0.1)
    trusting = ssl.create_default_context(cafile=WORK / "cert.pem")
    assert httpx.get(f"{base}/health", verify=trusting).status_code == 200

# What is no certificate is said so at the start.
(WORK / "cert.pem").write_text("nonsense")
done = subprocess.run(
    [BINARY, "serve", *STORE, "--http", "127.0.0.1:0", "--tls-cert", WORK / "cert.pem", "--tls-key", WORK / "key.pem"],
    capture_output=True, text=True, timeout=30,
)
assert done.returncode == 1 and "a certificate in PEM is wanted here" in done.stderr, done
print("all well")
