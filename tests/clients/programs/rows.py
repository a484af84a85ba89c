"""Runs the rows of a table: one operation of one client each, and tells how it went.

A row is a client, an operation in words, what must come of it, and what runs it: a function, whose exception is what the
client has to say, or a command, whose output is. One line per row, `ROW` and JSON: `client` with its `version`, `operation`,
`expected` (`allowed`, `refused`), `ok` (whether it succeeded), `shown` (what the client said), and by what the records of its
requests are found: `pod` (its address), `began` and `ended` (microseconds since 1970). A client that the machine lacks is told
of as `MISSING`.
"""

import functools
import importlib.metadata
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import traceback

LAB = os.environ["COFFERDAM_LAB"]
AUTHORITY = f"{LAB}/ca.pem"
# Colours, of those that ask nobody.
ANSI = re.compile("\x1b\\[[0-9;]*m")
PATIENCE, LONGEST, MOST_SHOWN = 60, 60, 4000
TRUST = (
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
)
QUIET = (
    "HF_HUB_DISABLE_TELEMETRY",
    "HF_HUB_DISABLE_PROGRESS_BARS",
    "HF_HUB_DISABLE_UPDATE_CHECK",
    "GIT_CONFIG_NOSYSTEM",
)


def prepare(resolved):
    """An own home, the lab's authority, and patience until the services outside and cluster DNS are there."""
    os.environ |= {**dict.fromkeys(TRUST, AUTHORITY), **dict.fromkeys(QUIET, "1"), "GIT_TERMINAL_PROMPT": "0"}
    # What is printed is not broken into lines of a terminal.
    os.environ |= {"COLUMNS": "1000", "NO_COLOR": "1"}
    os.environ["HOME"] = os.environ["HF_HOME"] = tempfile.mkdtemp(dir=LAB)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not (os.path.exists(AUTHORITY) and resolves(resolved)):
        time.sleep(0.2)


def resolves(name):
    try:
        return bool(socket.getaddrinfo(name, 443))
    except OSError:
        return False


def of(client):
    """Two functions that run rows of a client: those that must be allowed and those that must be refused."""

    def that_is(expected):
        return lambda operation, run: row(client, operation, expected, run)

    return that_is("allowed"), that_is("refused")


def row(client, operation, expected, run):
    began = now()
    try:
        shown, ok = str(run() or ""), True
    except Exception as failure:
        # What Python prints, causes and groups as well, without the places in the code.
        shown, ok = str(failure) if isinstance(failure, Failed) else told_by(failure), False
    found_by = {"pod": os.environ["POD_IP"], "began": began, "ended": now()}
    about = {"client": client, "version": version(client), "operation": operation, "expected": expected}
    print("ROW", json.dumps({**about, "ok": ok, "shown": shown[:MOST_SHOWN], **found_by}), flush=True)


@functools.cache
def version(client):
    try:
        return importlib.metadata.version(client)
    except importlib.metadata.PackageNotFoundError:
        # The first number of what a program says of itself: git version 2.39.5; skopeo version 1.9.3; 11.19.1.
        said = command(client, "--version")
        return next(word.split("/")[-1] for word in said.split() if word.split("/")[-1][:1].isdigit())


def told_by(failure):
    lines = "".join(traceback.format_exception(failure, limit=0)).splitlines()
    return "\n".join(line for line in lines if line.strip(" |+-") and "Traceback (most recent call last)" not in line)


def now():
    return time.time_ns() // 1000


class Failed(Exception):
    """A command that failed, with what it printed."""


def command(*words, folder=None, **environment):
    """What it printed."""
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LONGEST,
    )
    printed = "\n".join(line.rstrip() for line in ANSI.sub("", done.stdout + done.stderr).strip().splitlines())
    if done.returncode:
        raise Failed(printed)
    return printed


def has(client, program):
    """Whether there is such a program; says if not."""
    if shutil.which(program):
        return True
    print(f"MISSING {client}: {program} is not installed here", flush=True)
    return False
