"""Ordinary programs that speak to hosts outside: curl, pip, git, and the Python clients of a hub and of LLM providers.

Nothing here knows what is allowed, or that it runs in a lab: names come from /etc/resolv.conf, certificates are
verified. One line says how each went. A client that the machine lacks is told of as `NOT TRIED`. The Python clients
are those of the interpreter that EXAMPLE_PYTHON names (scripts/run makes one).
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

from pipeline import report, say

LAB = os.environ.get("COFFERDAM_LAB", "/nonexistent")
AUTHORITY = f"{LAB}/ca.pem"
PATIENCE, LONGEST = 30, 60


def outside_is_up():
    """The stand-ins publish their authority once they listen."""
    deadline = time.monotonic() + PATIENCE
    while not os.path.exists(AUTHORITY) and time.monotonic() < deadline:
        time.sleep(0.2)
    return os.path.exists(AUTHORITY)


def environment():
    variables = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO")
    quiet = ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "GIT_CONFIG_NOSYSTEM")
    return {**os.environ, **dict.fromkeys(variables, AUTHORITY), **dict.fromkeys(quiet, "1"), "GIT_TERMINAL_PROMPT": "0"}


def run(op, to, command, **more):
    """Whether the command succeeded."""
    try:
        done = subprocess.run(command, capture_output=True, env={**environment(), **more}, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return report(op, to, False, error="no end")
    if done.returncode:
        return report(op, to, False, error=last_line(done.stderr))
    told = last_line(done.stdout)
    return report(op, to, True, **({"got": told} if told else {}))


def last_line(output):
    return (output.decode("utf-8", "replace").strip().splitlines() or [""])[-1][:160]


def curl(op, url, *arguments):
    if not shutil.which("curl"):
        return missing(op, "curl")
    told = ["--write-out", "%{http_code}, %{size_download} bytes from %{remote_ip}"]
    common = ["--silent", "--show-error", "--location", "--fail", "--max-time", "20", "--output", os.devnull]
    return run(op, url, ["curl", *common, *told, *arguments, url])


def pip(op, index, package):
    python = sys.executable
    if subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode:
        return missing(op, "pip")
    with tempfile.TemporaryDirectory(dir=LAB) as folder:
        # --isolated: the settings of whoever runs the lab do not reach into it.
        options = ["--isolated", "--quiet", "--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--retries", "1"]
        where = ["--cert", AUTHORITY, "--index-url", index, "--dest", folder]
        return run(op, f"{index} {package}", [python, "-m", "pip", "download", *options, *where, package])


def git(op, url):
    if not shutil.which("git"):
        return missing(op, "git")
    with tempfile.TemporaryDirectory(dir=LAB) as folder:
        return run(op, url, ["git", "clone", "--quiet", url, f"{folder}/clone"], HOME=folder)


HUB = """
import sys, huggingface_hub
print(huggingface_hub.hf_hub_download(sys.argv[1], sys.argv[2]).rsplit("/", 1)[-1])
"""


def hub(op, repository, file):
    with tempfile.TemporaryDirectory(dir=LAB) as folder:
        arguments = [HUB, repository, file]
        return python(op, "huggingface.co", "huggingface_hub", arguments, HF_HOME=folder, HF_HUB_DISABLE_XET="1")


OPENAI = """
import openai
client = openai.OpenAI(api_key="sk-example", max_retries=1, timeout=10)
ask = dict(model="gpt-4o-mini", messages=[{"role": "user", "content": "What is a cofferdam?"}])
whole = client.chat.completions.create(**ask)
parts = [chunk for chunk in client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})]
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in parts if chunk.choices)
assert streamed == whole.choices[0].message.content
print(f"{whole.usage.total_tokens} tokens, {parts[-1].usage.total_tokens} streamed")
"""


def openai(op):
    return python(op, "api.openai.com", "openai", [OPENAI])


def python(op, to, module, arguments, **more):
    """A program for the interpreter that has the module."""
    interpreter = os.environ.get("EXAMPLE_PYTHON", "")
    if not interpreter or subprocess.run([interpreter, "-c", f"import {module}"], capture_output=True).returncode:
        return missing(op, module)
    return run(op, f"{to} with {module}", [interpreter, "-c", *arguments], **more)


def missing(op, what):
    say(f"{op}: NOT TRIED: {what} is not installed here")
    return True
