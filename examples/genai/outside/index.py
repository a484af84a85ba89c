"""A package index (PEP 503) of small wheels."""

import hashlib
import io
import zipfile

from web import Reply


def make_wheel(package):
    """Its file's name and its content."""
    name = package.replace("-", "_")
    about = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "NAMES = ['length', 'language']\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{about}/RECORD"
    files[record] = "".join(f"{name},,\n" for name in [*files, record])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return f"{package.replace('-', '_')}-1.0-py3-none-any.whl", buffer.getvalue()


WHEELS = {package: make_wheel(package) for package in ("acme-features",)}


def site(request):
    words = request.path.strip("/").split("/")
    if words[0] == "packages":
        content = next((content for file, content in WHEELS.values() if file == words[-1]), None)
        return Reply(404) if content is None else Reply(200, content, "application/zip")
    if words == ["simple"]:
        return page("".join(f'<a href="{package}/">{package}</a>' for package in WHEELS))
    if words[0] != "simple" or words[-1] not in WHEELS:
        return Reply(404)
    file, content = WHEELS[words[-1]]
    return page(f'<a href="../../packages/{file}#sha256={hashlib.sha256(content).hexdigest()}">{file}</a>')


def page(body):
    return Reply(200, f"<!DOCTYPE html><html><body>{body}</body></html>".encode(), "text/html")
