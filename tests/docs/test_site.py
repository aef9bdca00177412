"""The site builds without a warning, loads nothing from another host, and can be searched."""

import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]


def build(project, target):
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)],
        cwd=project,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    done = build(PROJECT, target)
    assert done.returncode == 0, done.stderr
    return target


class Loads(HTMLParser):
    """What a page makes a browser fetch by itself, where it leads to, and the anchors it has."""

    def __init__(self, path):
        super().__init__()
        self.loaded, self.links, self.anchors = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.anchors.add(named.get("id"))
        if tag == "a":
            self.links.append(named.get("href") or "")
        elif tag != "link" or not {"canonical", "prev", "next"} & {named.get("rel")}:
            self.loaded += [value for name, value in attrs if name in {"src", "href", "srcset", "data"} and value]


def test_no_page_loads_anything_from_another_host(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for path in pages:
        for address in Loads(path).loaded:
            assert not urlsplit(address).netloc, (path.name, address)
    for path in site.rglob("*.css"):
        for address in re.findall(r"(?:url\(|@import )[\"']?([^\"')]+)", path.read_text(encoding="utf-8")):
            assert address.startswith("data:") or not urlsplit(address).netloc, (path.name, address)


def test_every_link_leads_to_a_page_and_to_an_anchor_of_it(site):
    pages = {path: Loads(path) for path in site.rglob("*.html") if path.name != "404.html"}
    followed = 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link in {"", "#", "."}:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target in pages, (path.name, link)
            assert not parts.fragment or unquote(parts.fragment) in pages[target].anchors, (path.name, link)
            followed += 1
    assert followed > 500


def test_every_link_of_the_markdown_leads_to_a_file_of_the_project():
    """As a code host follows them."""
    followed = 0
    for path in [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"), PROJECT / "benchmarks/README.md"]:
        text = re.sub(
            r"^ *```.*?^ *```$|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
        )
        for target in re.findall(r"""(?:\]\(|<img src=")([^)"\s]+)""", text):
            # The badges' targets are pages of the code host, beside the tree.
            if re.match(r"[a-z]+:|#|\.\./\.\./actions/", target):
                continue
            assert (path.parent / target.partition("#")[0]).exists(), (path.name, target)
            followed += 1
    assert followed > 80


def test_every_page_is_in_the_navigation():
    named = re.findall(r"[\w/-]+\.md", yaml.dump(yaml.safe_load((PROJECT / "mkdocs.yml").read_text())["nav"]))
    for path in (PROJECT / "docs").rglob("*.md"):
        assert path.relative_to(PROJECT / "docs").as_posix() in named, f"add {path.name} to nav in mkdocs.yml"


def test_links_to_nothing_fail_the_build(tmp_path):
    copy = tmp_path / "project"
    for name in (
        "docs",
        "mkdocs.yml",
        "scripts/site_links.py",
        "benchmarks/README.md",
        *(p.name for p in PROJECT.glob("*.md")),
    ):
        source, target = PROJECT / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
    links = ("nothing.md", "../nothing.py", "concepts.md#nothing")
    (copy / "docs/start.md").write_text("# Start\n\n" + "\n".join(f"[gone]({link})" for link in links))
    done = build(copy, tmp_path / "site")
    assert done.returncode != 0
    for link in links:
        assert link in done.stderr, done.stderr


@pytest.mark.browser
def test_a_browser_finds_a_message_and_fetches_nothing_from_elsewhere(site):
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser's driver is not installed")
    chromium = shutil.which("chromium")
    assert chromium, "install chromium"
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}/"
    asked = []
    try:
        with (
            playwright.sync_playwright() as driver,
            driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
        ):
            page = browser.new_page()
            page.on("request", lambda request: asked.append(request.url))
            # What is typed before the index is there is never looked for.
            page.goto(base, wait_until="networkidle")
            page.get_by_role("textbox", name="Search").press_sequentially(
                "what an address that is not on the allow list sees"
            )
            # Of each page the best sections show; the others are folded.
            page.locator(".md-search-result__link", has_text="NotAllowListedError").first.evaluate(
                "link => link.click()"
            )
            page.wait_for_url(re.compile(r"reference/messages\.html.*#notallowlistederror"))
            assert page.get_by_role("heading", name="NotAllowListedError").is_visible()
    finally:
        server.shutdown()
        server.server_close()
    assert len(asked) > 10
    assert [url for url in asked if not url.startswith((base, "data:", "blob:"))] == []
