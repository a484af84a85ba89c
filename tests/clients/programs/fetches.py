"""Programs that fetch code, packages and images: git, git-lfs, pip, twine, npm, skopeo, curl."""

import json
import sys
import tempfile
from pathlib import Path

from rows import AUTHORITY, LAB, command, has, of, prepare

prepare("ghcr.io")

FOLDER = Path(tempfile.mkdtemp(dir=LAB))
HUB, INDEX = "https://huggingface.co", "https://python.packages.acme.example"
# The settings of whoever runs the lab do not reach into it.
PIP = [sys.executable, "-m", "pip", "--isolated", "--no-input", "--disable-pip-version-check", "--cert", AUTHORITY]
AUTHOR = ["-c", "user.name=acme", "-c", "user.email=acme@example"]


def of_git():
    if not has("git", "git"):
        return
    allowed, refused = of("git")
    clone, url = str(FOLDER / "clone"), f"{HUB}/acme/tiny-llm"
    allowed("clone", lambda: command("git", "clone", "--quiet", url, clone))
    allowed("fetch", lambda: command("git", "-C", clone, "fetch", "--quiet"))
    refused("clone of another owner's", lambda: command("git", "clone", "--quiet", f"{HUB}/evil/code", f"{clone}-2"))
    Path(clone, "secret.txt").write_text("secret\n", encoding="utf-8")
    command("git", "-C", clone, "add", "secret.txt")
    command("git", "-C", clone, *AUTHOR, "commit", "--quiet", "-m", "x")
    refused("push", lambda: command("git", "-C", clone, "push", "--quiet", "origin", "main"))
    if not has("git-lfs", "git-lfs"):
        return
    allowed, refused = of("git-lfs")
    command("git", "-C", clone, "lfs", "install", "--local")
    allowed("pull", lambda: command("git", "-C", clone, "lfs", "pull"))
    Path(clone, "new.safetensors").write_bytes(bytes(1024))
    command("git", "-C", clone, "add", "new.safetensors")
    command("git", "-C", clone, *AUTHOR, "commit", "--quiet", "-m", "x")
    refused("push", lambda: command("git", "-C", clone, "lfs", "push", "origin", "main"))


def of_python():
    allowed, refused = of("pip")
    fetch = [
        *PIP,
        "download",
        "--quiet",
        "--no-deps",
        "--no-cache-dir",
        "--retries",
        "0",
        "--index-url",
        f"{INDEX}/simple/",
    ]
    fetch += ["--dest", str(FOLDER)]
    allowed("download", lambda: command(*fetch, "acme-features"))
    refused("download of a package that is not listed", lambda: command(*fetch, "evil-package"))
    wheel = FOLDER / "acme_features-1.0-py3-none-any.whl"
    upload = [
        "upload",
        "--non-interactive",
        "--disable-progress-bar",
        "--cert",
        AUTHORITY,
        "--repository-url",
        f"{INDEX}/legacy/",
    ]
    own = ["-u", "__token__", "-p", "pypi-acme"]
    _, refused = of("twine")
    refused("upload", lambda: command(sys.executable, "-m", "twine", *upload, *own, str(wheel)))


def of_npm():
    if not has("npm", "npm"):
        return
    allowed, refused = of("npm")
    project, package = FOLDER / "project", FOLDER / "package"
    for folder, name in ((project, "project"), (package, "acme-widgets")):
        folder.mkdir()
        (folder / "package.json").write_text(json.dumps({"name": name, "version": "2.0.0"}), encoding="utf-8")
    settings = f"registry=https://registry.yarnpkg.com/\n//registry.yarnpkg.com/:_authToken=npm_acme\ncafile={AUTHORITY}\nfetch-retries=0\n"
    (FOLDER / "npmrc").write_text(settings + "update-notifier=false\n", encoding="utf-8")
    npm = [
        "npm",
        "--userconfig",
        str(FOLDER / "npmrc"),
        "--globalconfig",
        "/dev/null",
        "--cache",
        str(FOLDER / "cache"),
    ]
    allowed("install", lambda: command(*npm, "install", "--no-audit", "acme-widgets", folder=project))
    # Tells the registry all packages of a project; an ordinary install does it as well, and goes on without.
    refused("audit", lambda: command(*npm, "audit", folder=project))
    refused("install of a package that is not listed", lambda: command(*npm, "install", "evil-package", folder=project))
    refused("publish", lambda: command(*npm, "publish", folder=package))


def of_images():
    if not has("skopeo", "skopeo"):
        return
    allowed, refused = of("skopeo")
    image, kept = "docker://ghcr.io/acme/tiny-image:1", f"dir:{FOLDER}/image"
    copy = ["skopeo", "copy", "--quiet", "--insecure-policy"]
    allowed("copy from a registry", lambda: command(*copy, image, kept))
    allowed("inspect", lambda: command("skopeo", "inspect", "--raw", image))
    refused("copy of an image that is not listed", lambda: command(*copy, "docker://ghcr.io/evil/image:1", f"{kept}-2"))
    refused(
        "copy to a registry",
        lambda: command(*copy, "--dest-creds", "acme:ghp_acme", kept, "docker://ghcr.io/acme/tiny-image:2"),
    )


def of_curl():
    if not has("curl", "curl"):
        return
    allowed, refused = of("curl")
    curl = ["curl", "--silent", "--show-error", "--fail-with-body", "--http2", "--max-time", "20"]
    url = f"{HUB}/acme/tiny-llm/resolve/main"
    allowed("GET over HTTP/2", lambda: command(*curl, f"{url}/config.json"))
    large = FOLDER / "large"
    large.write_bytes(bytes(24 << 20))
    refused("PUT of 24 MiB over HTTP/2", lambda: command(*curl, "--upload-file", str(large), f"{url}/config.json"))
    refused(
        "PUT of 24 MiB over HTTP/1.1",
        lambda: command(*curl, "--http1.1", "--upload-file", str(large), f"{url}/config.json"),
    )
    refused("PUT over HTTP/2", lambda: command(*curl, "--upload-file", __file__, f"{url}/config.json"))


for client in (of_git, of_python, of_npm, of_images, of_curl):
    client()
