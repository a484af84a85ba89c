"""Ingest: installs what it needs from the package index, reads the published data set, the hub's and the bucket's,
writes features and embeddings. A few rounds, then done."""

import argparse
import time

import clients
from pipeline import ask, connect, finish, name_lookup, report, split

ROUNDS = 3


BUCKET = "https://acme-datasets.s3.eu-west-1.amazonaws.com"


def prepare():
    """The outside by name."""
    if not clients.outside_is_up():
        return report("outside", "everything", False)
    ok = clients.curl("read-corpus", "https://huggingface.co/datasets/acme/corpus/resolve/main/corpus.jsonl")
    ok &= clients.curl("list-bucket", f"{BUCKET}/?list-type=2")
    ok &= clients.curl("read-bucket", f"{BUCKET}/raw/part-0.txt")
    ok &= clients.curl("write-bucket", f"{BUCKET}/clean/part-0.txt", "--upload-file", __file__)
    return ok & clients.pip("install", "https://python.packages.acme.example/simple/", "acme-features")


def fetch(source):
    """Whether the source was reached. A refusal was an answer: the packets came through, nothing listens there."""
    name, port = split(source, 443)
    try:
        connect(name, port).close()
        return report("fetch", source, True)
    except ConnectionRefusedError:
        return report("fetch", source, True, note="reached; nothing listens there")
    except OSError as failure:
        return report("fetch", source, False, error=str(failure))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--source", default="203.0.113.10:443")
    source = arguments.parse_args().source
    ok = name_lookup() and prepare()
    for number in range(ROUNDS):
        features = ",".join(str((number * 31 + i) % 97) for i in range(256)).encode()
        ok &= fetch(source)
        ok &= ask("write-features", "PUT", "feature-store.ingest.svc:7000", f"/batch/{number}", features) is not None
        ok &= ask("write-embeddings", "PUT", "vector-db.serve.svc:6333", f"/points/{number}", features) is not None
        time.sleep(0.5)
    finish(ok)
