"""A package index (PEP 503) with one wheel in it."""

import hashlib
import io
import zipfile

from web import Reply

WHEEL = "acme_features-1.0-py3-none-any.whl"


def make_wheel():
    files = {
        "acme_features.py": "NAMES = ['length', 'language']\n",
        "acme_features-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: acme-features\nVersion: 1.0\n",
        "acme_features-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "acme_features-1.0.dist-info/RECORD"
    files[record] = "".join(f"{name},,\n" for name in [*files, record])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return buffer.getvalue()


CONTENT = make_wheel()


def site(request):
    link = f"../../packages/{WHEEL}#sha256={hashlib.sha256(CONTENT).hexdigest()}"
    pages = {
        "/simple/": '<a href="acme-features/">acme-features</a>',
        "/simple/acme-features/": f'<a href="{link}">{WHEEL}</a>',
    }
    if request.path == f"/packages/{WHEEL}":
        return Reply(200, CONTENT, "application/zip")
    page = pages.get(request.path)
    html = f"<!DOCTYPE html><html><body>{page}</body></html>"
    return Reply(200, html.encode(), "text/html") if page else Reply(404)
