# For other scripts to read: what installing Debian packages needs. They define say.

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif have sudo; then
		sudo "$@"
	else
		say "must be root to run: $*"
		return 1
	fi
}
