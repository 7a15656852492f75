# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced by scripts/guest for --vng: the same guest booted by virtme-ng.
# shellcheck disable=SC2154 # set by the script that sources this

"${inroot[@]}" "$TOP/scripts/vng-prepare" || exit 125
cp "$TOP/scripts/vng-init" "$share/vng-init"
options=(--disable-microvm --run "$release" --cpus "$cpus" --memory "${mem}M"
	--rwdir "/run/coop=$share" --overlay-rwdir /root --overlay-rwdir /mnt
	--append "oops=panic quiet loglevel=1 $clocks $append"
	--qemu-opts="${wires[*]}")
[ "$accel" = kvm ] || options+=(--disable-kvm)
[ -z "$icount" ] || fail 125 "--icount needs the direct boot: leave out --vng"
if [ -n "$shell" ]; then
	qemu=("${inroot[@]}" vng "${options[@]}")
else
	# Verbose: the console comes on virtme-ng's standard error, which the
	# command therefore leaves alone.
	qemu=("${inroot[@]}" vng "${options[@]}" --verbose --exec "bash /run/coop/vng-init")
fi
