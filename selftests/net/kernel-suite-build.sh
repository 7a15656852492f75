#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The part of kernel-suite that runs in the trixie root, whose own packages stay as they are:
# fetches packages into FOLDER/root, and compiles what the tests in FOLDER/src call.
#
#     kernel-suite-build.sh FOLDER
set -euo pipefail

# What the tests need besides what the root has; and what of that has to be current: as it is in
# Debian unstable today.
PACKAGES=(python3-yaml socat bpftool libbpf-dev)
CURRENT=(ethtool iproute2)

out=$1
apt=$(mktemp -d)
trap 'rm -r "$apt"' EXIT
mkdir -p "$apt"/{lists,archives}/partial "$apt/parts"
cd "$apt"
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
cp /etc/apt/sources.list .
sed -n "s/ $suite main$/ sid main/p" /etc/apt/sources.list >>sources.list
set_aside=(-qq -o "APT::Default-Release=$suite" -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt"
	-o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=$apt/parts"
	-o APT::Sandbox::User=root)
apt-get "${set_aside[@]}" update
# With what they depend on: "Inst NAME [OLD] (NEW ...", for what is not there in that version.
apt-get "${set_aside[@]}" -s install "${PACKAGES[@]}" "${CURRENT[@]/%//sid}" |
	sed -nE 's/^Inst ([^ ]+) (\[[^]]*\] )?\(([^ ]+) .*/\1=\3/p' >wanted
cat wanted
if grep -q '^libc6=' wanted; then
	echo "the current ${CURRENT[*]} do not run on $suite" >&2
	exit 1
fi
xargs apt-get "${set_aside[@]}" download <wanted
mkdir -p "$out/root"
for deb in *.deb; do
	dpkg -x "$deb" "$out/root"
done

cd "$out/src/tools/testing/selftests"
for c in net/lib/{csum,gro,xdp_helper}.c drivers/net/{napi_id_helper,so_txtime}.c; do
	gcc -O2 -w -I. "$c" -o "${c%.c}"
done
for c in net/lib/xdp_*.bpf.c; do
	clang -O2 -g -w -target bpf -I/usr/include/x86_64-linux-gnu -I"$out/root/usr/include" \
		-c "$c" -o "${c%.c}.o"
done
