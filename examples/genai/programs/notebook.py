"""A notebook that tries to read the feature store directly. Nothing opened that, so nothing should come back."""

import time

from attacker import Tally, attempt

if __name__ == "__main__":
    time.sleep(3)
    attempt(Tally(), "notebook-reads-features", "feature-store.ingest.svc", 7000)
