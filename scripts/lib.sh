# Shared by the scripts beside it; sourced, not run.
say() { printf '\033[1m==>\033[0m %s\n' "$*"; }

# How to become root: nothing to do, sudo without a question, or not at all.
root_runner() {
  if [ "$(id -u)" = 0 ]; then printf 'env'
  elif sudo -n true 2>/dev/null; then printf 'sudo -E env'
  fi
}
