"""Runs the rows of a table: one operation of one client each, and tells how it went.

A row is a client, an operation in words, what must come of it, and what runs it: a function, whose exception is what the
client has to say, or a command, whose output is. One line per row, `ROW` and JSON: `client`, `operation`, `expected`
(`allowed`, `refused`), `ok` (whether it succeeded), `shown` (what the client said), `began` and `ended` (microseconds since
1970), by which the records of its requests are found. A client that the machine lacks is told of as `MISSING`.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
import traceback

LAB = os.environ["COFFERDAM_LAB"]
AUTHORITY = f"{LAB}/ca.pem"
PATIENCE, LONGEST, MOST_SHOWN = 60, 60, 4000
TRUST = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS")
QUIET = ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_UPDATE_CHECK", "GIT_CONFIG_NOSYSTEM")
ALLOWED, REFUSED = "allowed", "refused"


def prepare(resolved):
    """An own home, the lab's authority, and patience until the services outside and cluster DNS are there."""
    os.environ |= {**dict.fromkeys(TRUST, AUTHORITY), **dict.fromkeys(QUIET, "1"), "GIT_TERMINAL_PROMPT": "0"}
    os.environ["HOME"] = os.environ["HF_HOME"] = tempfile.mkdtemp(dir=LAB)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not (os.path.exists(AUTHORITY) and resolves(resolved)):
        time.sleep(0.2)


def resolves(name):
    import socket

    try:
        return bool(socket.getaddrinfo(name, 443))
    except OSError:
        return False


def row(client, operation, expected, run):
    began = now()
    try:
        shown, ok = str(run() or ""), True
    except Exception as failure:
        # The last part of what Python prints: the exception and its text.
        shown, ok = "".join(traceback.format_exception_only(failure)).strip(), False
    told = {"client": client, "operation": operation, "expected": expected, "ok": ok, "shown": shown[:MOST_SHOWN]}
    print("ROW", json.dumps({**told, "began": began, "ended": now()}), flush=True)


def now():
    return time.time_ns() // 1000


class Failed(Exception):
    """A command that failed, with what it printed."""

    def __str__(self):
        return self.args[0]


def command(*words, folder=None, **environment):
    """What it printed."""
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, errors="replace", timeout=LONGEST
    )
    printed = (done.stdout + done.stderr).strip()
    if done.returncode:
        raise Failed(printed)
    return printed


def has(client, program):
    """Whether there is such a program; says if not."""
    if shutil.which(program):
        return True
    print(f"MISSING {client}: {program} is not installed here", flush=True)
    return False
