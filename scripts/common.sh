# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Paths, messages and the way into the trixie root: sourced by the scripts.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export TOP

# One cache folder for all checkouts; everything in it can be made again.
COOP_CACHE=${COOP_CACHE:-${HOME:-/root}/.cache/coop-domain}
case $COOP_CACHE in /*) ;; *) COOP_CACHE=$TOP/$COOP_CACHE ;; esac
export COOP_CACHE

# The root is keyed by what it is made from. The kernel trees are below the
# same key, because their Rust metadata fits one compiler only.
SUITE=trixie
ROOT_FORMAT=1
ROOT_KEY=$(sha256sum "$TOP/scripts/packages.txt" | cut -c1-12)-$ROOT_FORMAT
BASE=$COOP_CACHE/$SUITE-$ROOT_KEY
ROOT=$BASE/root
KERNELS=$BASE/kernels

# The same folders as seen from inside the root: fixed, so that the cache can
# be moved without breaking the paths that a prepared kernel tree records.
# shellcheck disable=SC2034 # for the scripts that source this
IN_KERNELS=/srv/kernels IN_CARGO=/srv/cargo

# Inside the root, and inside guests, which see the same root.
INSIDE=
if [ -e /.coop-inside ]; then
	INSIDE=1 ROOT="" KERNELS=$IN_KERNELS
fi

# Options for a make inside the root. (By itself it hands out its jobs through /tmp/GMfifo and its process
# number, which in the root's namespace of processes another one may have, too, and one that was killed
# leaves behind.)
# shellcheck disable=SC2034
MAKE_JOBS=("-j$(nproc)" --jobserver-style=pipe)

KERNEL=${KERNEL:-amd64}
# The same source as user-mode Linux, with the kernel's checkers or without: see
# scripts/uml-kernel. The stock kernel is at its side.
case $KERNEL in
uml-debug | uml) COOP_UML=$KERNEL KERNEL=amd64 ;;
esac
COOP_UML=${COOP_UML:-}
export COOP_UML

die()
{
	printf '%s: error: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

say()
{
	[ -n "${QUIET:-}" ] || printf '%s\n' "$*" >&2
}

# How this user may make mounts: root does it plainly, anybody else needs a
# user namespace with a range of ids.
ns_flags()
{
	if [ "$(id -u)" = 0 ]; then
		echo "--mount"
	elif unshare --map-root-user --map-auto --mount true 2>/dev/null; then
		echo "--map-root-user --map-auto --mount"
	else
		return 1
	fi
}

# What keeps this user from a user namespace, and what helps.
why_no_ns()
{
	local user
	user=$(id -un 2>/dev/null || id -u)
	if ! unshare --map-root-user true 2>/dev/null; then
		echo "this machine does not allow user namespaces: run it as root"
	elif ! command -v newuidmap >/dev/null || ! command -v newgidmap >/dev/null; then
		echo "newuidmap is missing: run it as root, or have the package uidmap installed"
	elif ! grep -qsE "^($user|$(id -u)):" /etc/subuid || ! grep -qsE "^($user|$(id -u)):" /etc/subgid; then
		echo "$user has no range of ids in /etc/subuid and /etc/subgid: run it as root, or have a range added (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $user)"
	else
		echo "this machine does not let $user map ids in a user namespace: run it as root"
	fi
}

need_ns()
{
	local flags
	flags=$(ns_flags) || die "not root, and $(why_no_ns)"
	# shellcheck disable=SC2086
	unshare $flags true 2>/dev/null ||
		die "this machine does not allow mount namespaces (a container without CAP_SYS_ADMIN?): run on a machine or in a container that does (docker run --privileged)"
	NS_FLAGS=$flags
}

# The release that KERNEL stands for. A flavour is resolved once, at set-up,
# and remembered: set-up with --update looks for a newer one.
kernel_release()
{
	case $KERNEL in
	amd64 | cloud-amd64 | rt-amd64) cat "$KERNELS/flavour-$KERNEL" 2>/dev/null ;;
	*) echo "$KERNEL" ;;
	esac
}

kernel_ready()
{
	local release
	release=$(kernel_release) && [ -n "$release" ] &&
		[ -e "$KERNELS/$release/complete" ]
}

# The file system over which guests of a release reach the host's folders.
share_fs()
{
	local config=$KERNELS/$1/kdir/.config
	if grep -qs '^CONFIG_9P_FS=[my]' "$config"; then
		echo 9p
	elif grep -qs '^CONFIG_VIRTIO_FS=[my]' "$config" && [ -x "$KERNELS/$1/virtiofsd" ]; then
		echo virtiofs
	else
		return 1
	fi
}

# Of a build's messages those that tell something. One line per coroutine is of
# no meaning: async code ends in a call of panic_const_async_fn_resumed, which
# this kernel's objtool does not know never to return.
notable()
{
	grep -vE '^ *(RUSTC|CLIPPY|CC|LD|MODPOST|BTF|UPD|EXPORTS|GEN|AR|NM)\b|^Skipping BTF|^make|objtool: _R.*falls through to next function _R' || true
}

# shellcheck source=selftests/dmesg.sh
. "$TOP/selftests/dmesg.sh"
