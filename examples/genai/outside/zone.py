"""The names of internet.zone. Reads no more of the format than that file uses."""

from pathlib import Path

FILE = Path(__file__).with_name("internet.zone")


def records():
    """(name, type, value) of every address and alias, names without the dot at the end."""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        words = line.split(";")[0].split()
        if len(words) == 3 and words[1] in ("A", "CNAME"):
            yield words[0].rstrip("."), words[1], words[2].rstrip(".")


def addresses():
    """Every name, none of the wildcards, with the address that it leads to."""
    known = {name: (kind, value) for name, kind, value in records() if not name.startswith("*")}

    def follow(name):
        kind, value = known[name]
        return value if kind == "A" else follow(value)

    return {name: follow(name) for name in known}
