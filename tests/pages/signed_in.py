"""The operator's view in a real browser: sign-in, every page, forms and their protection, hostile names.

    signed_in.py BINARY CHROMIUM AXE_JS OUT_DIR
"""

import json
import os
import re
import subprocess
import tempfile
import urllib.error
import urllib.request

from browser import BINARY, DEADLINE, DESKTOP, OUT, PHONE, friendly, hostile, shot, store, verdict, watched

EVIL = "\"><script>document.title='RAN'</script>\n\u202egnp'"
NAMES = ["a\"b'c.txt", "line\nbreak.txt", "\u202egpj.exe", "<script>document.title='RAN'</script>.txt", "<img src=x onerror=alert(1)>.md"]


def command(state, *words):
    done = subprocess.run([BINARY, "--state-dir", state, *words], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def make_key(state, name, *scopes):
    return json.loads(command(state, "--json", "key", "create", name, *(f"--scope={s}" for s in scopes)))


def sign_in(page, key):
    page.fill("input[name=key]", key)
    page.click("main button[type=submit]")


def signed_in(pages, base, key, **options):
    page = pages.open(base, **options)
    sign_in(page, key)
    page.wait_for_selector("nav.menu")
    return page


def asked(base, key, path, **more):
    request = urllib.request.Request(base + path, headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"}, **more)
    with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
        return json.load(answer)


def publish(base, key):
    """A page of one artifact; its path."""
    table = asked(base, key, "/v1/artifacts?content_type=text/csv&limit=1")["artifacts"][0]["artifact_id"]
    url = asked(base, key, f"/v1/artifacts/{table}/publish", data=b'{"title": "Q3 in figures"}', method="POST")["url"]
    return "/" + url.split("/", 3)[3]


def every_look(pages, base, key):
    published = publish(base, key)
    for viewport, size in [(PHONE, "phone"), (DESKTOP, "desktop")]:
        for scheme in ["light", "dark"]:
            page = pages.open(base, viewport, scheme)
            pages.check(page, f"sign-in {size} {scheme}")
            shot(page, f"operator-signin-{size}-{scheme}")
            sign_in(page, "nonsense")
            page.wait_for_selector("#wrong")
            pages.check(page, f"sign-in refused {size} {scheme}")
            sign_in(page, key)
            page.wait_for_selector("nav.menu")
            for part, address in [
                ("home", "/"), ("sessions", "/sessions"), ("search", "/search?q=a"), ("links", "/links"), ("keys", "/keys"),
                ("session", "/sessions/hostile"), ("none", "/search?q=nothing-is-called-that"),
                ("reference", "/docs"), ("published", published),
            ]:
                page.goto(base + address, wait_until="load")
                for details in page.locator("details").all():
                    details.evaluate("d => d.open = true")
                pages.check(page, f"{part} {size} {scheme}")
                shot(page, f"operator-{part}-{size}-{scheme}")
            page.context.close()


def hostile_names(pages, base, key, count):
    page = signed_in(pages, base, key)
    page.goto(f"{base}/search?q=")
    shown = page.locator("tbody tr").count()
    assert shown >= count, shown
    text = page.inner_text("main")
    assert "[U+202E]" in text and "<script>" in text, text[:500]
    for url in page.eval_on_selector_all("tbody th a", "a => a.map(x => x.href)"):
        page.goto(url, wait_until="load")
        pages.check(page, url, axe=False)
    page.goto(base + "/search?q=" + "%22%3E%3Cscript%3Edocument.title%3D%27RAN%27%3C%2Fscript%3E")
    pages.check(page, "hostile search")
    page.context.close()


def forms(pages, base, state, key):
    """All of it without script."""
    page = signed_in(pages, base, key, script=False)
    cookie = next(c for c in page.context.cookies() if c["name"] == "outputfs_operator")
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and not cookie["secure"], cookie
    keys = lambda: json.loads(command(state, "--json", "key", "ls"))
    live = lambda: [k for k in keys() if k["revoked_at"] is None]
    items = lambda value: value if isinstance(value, list) else value
    before = len(items(live()))

    # Forms that are not ours change nothing.
    token = page.goto(f"{base}/keys") and page.locator("input[name=csrf]").first.get_attribute("value")
    request = page.context.request
    form = {"name": "forged", "scope": "admin"}
    assert request.post(f"{base}/keys", form=form, max_redirects=0).status == 403
    assert request.post(f"{base}/keys", form={**form, "csrf": "x"}, max_redirects=0).status == 403
    for headers in [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]:
        sent = request.post(f"{base}/keys", form={**form, "csrf": token}, headers=headers, max_redirects=0)
        assert sent.status == 403, (headers, sent.status)
    foreign = page.context.new_page()
    foreign.set_content(f"<form method=post action='{base}/keys'><input name=csrf value='{token}'><input name=name value=forged>"
                        "<input name=scope value=admin><button>go</button></form>")
    foreign.click("button")
    foreign.wait_for_load_state("load")
    foreign.close()
    assert len(live()) == before

    # A key is made, shown once, opens the API, and ends.
    page.goto(f"{base}/keys")
    page.fill("input[name=name]", EVIL)
    page.click("main form.stack button")
    secret = page.inner_text("code.secret")
    assert re.fullmatch(r"ak_live_[0-9A-Za-z]{32}", secret), secret
    pages_now = page.inner_text("main")
    assert "[U+202E]" in pages_now
    whoami = urllib.request.Request(f"{base}/v1/whoami", headers={"Authorization": f"Bearer {secret}"})
    assert urllib.request.urlopen(whoami, timeout=DEADLINE).status == 200
    page.goto(f"{base}/keys")
    assert secret not in page.content() and len(live()) == before + 1
    row = page.locator("tr", has_text=secret[8:16])
    row.locator("summary").click()
    row.locator("button.danger").click()
    page.wait_for_load_state("load")
    assert len(live()) == before
    page.fill("input[name=name]", "nothing")
    for scope in ["read", "write"]:
        page.uncheck(f"input[value={scope}]")
    page.click("main form.stack button")
    assert "without a scope" in page.inner_text("p.wrong")

    # A link is revoked.
    url = command(state, "--public-url", base, "link", "run_42")
    assert urllib.request.urlopen(url, timeout=DEADLINE).status == 200
    page.goto(f"{base}/links")
    row = page.locator("tr", has_text=re.search(r"lnk_.{8}", url)[0])
    row.locator("summary").click()
    row.locator("button.danger").click()
    page.wait_for_load_state("load")
    try:
        urllib.request.urlopen(url, timeout=DEADLINE)
        raise AssertionError("the link still leads somewhere")
    except urllib.error.HTTPError as e:
        assert e.code == 410

    # Search, a file, its download.
    page.goto(f"{base}/search")
    page.fill("input[name=q]", "train")
    page.press("input[name=q]", "Enter")
    page.click("tbody th a")
    page.wait_for_url("**/v/art_*")
    with page.expect_download() as download:
        page.click("a.button")
    assert b"return 0" in open(download.value.path(), "rb").read()
    page.click("p.back a")
    page.wait_for_url("**/sessions/run_42")

    # Signing out ends it here and on the server.
    page.click("nav.menu button")
    page.wait_for_selector("input[name=key]")
    old = {"Cookie": f"outputfs_operator={cookie['value']}"}
    assert request.get(f"{base}/keys", headers=old, max_redirects=0).status == 303
    page.context.close()

    # A key that is revoked takes its sign-ins along; one without the scope has none.
    other = make_key(state, "other", "admin")
    page = signed_in(pages, base, other["key"])
    command(state, "key", "revoke", other["key_id"])
    page.goto(f"{base}/sessions")
    page.wait_for_selector("input[name=key]")
    sign_in(page, make_key(state, "reader", "read", "write")["key"])
    assert "scope" in page.inner_text("#wrong")
    page.context.close()


def main():
    os.makedirs(OUT, exist_ok=True)
    state = tempfile.mkdtemp(prefix="ofs-operator-")
    store(state, "run_42", friendly(), "--agent", "writer-7", "--meta", "stage=final")
    bad = {n: c for n, c in hostile().items() if len(c) < 1 << 20} | {n: "x" for n in NAMES}
    store(state, "hostile", bad, "--agent", "<script>alert(1)</script>\u202e", "--meta", f"k={EVIL}")
    key = make_key(state, EVIL, "admin")["key"]
    command(state, "link", "run_42")
    command(state, "link", "hostile")
    with watched(state) as (base, pages, recorder, _):
        every_look(pages, base, key)
        hostile_names(pages, base, key, len(NAMES))
        forms(pages, base, state, key)
        pages.wrong += [f"sent to evil.example: {line}" for line in recorder.heard]
    verdict(pages)


main()
