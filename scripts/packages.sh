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

# apt_install PACKAGE...
apt_install() {
	if ! have apt-get; then
		say "please install: $*"
		return 1
	fi
	say "apt-get install $*"
	as_root apt-get update -qq >&2
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}
