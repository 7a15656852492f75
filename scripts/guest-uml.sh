# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced by scripts/guest for KERNEL=uml and uml-debug: the same guest as a
# program of this machine's own. It sees the root as the other guests do, but
# has no devices, and its clock is the machine's.
# shellcheck disable=SC2034,SC2154 # shared with the script that sources this

[ "$nics" = 0 ] || fail 125 "user-mode Linux has no NICs: leave out --nics or KERNEL=$COOP_UML"
[ -z "$icount" ] || fail 125 "user-mode Linux counts no instructions: leave out --icount or KERNEL=$COOP_UML"
[ -z "$vng$shell" ] || fail 125 "--vng and --shell are not for user-mode Linux: leave out KERNEL=$COOP_UML"
[ "${#qemu_args[@]}" = 0 ] || fail 125 "--qemu is not for user-mode Linux: leave out KERNEL=$COOP_UML"
cp "$TOP/scripts/uml/init" "$share/uml-init"
chmod +x "$share/uml-init"
: >"$share/stdout"
: >"$share/stderr"
# Who allocated what is not noted for each: to read a stack takes long here.
[ "$COOP_UML" = uml ] || [[ $append == *kmemleak=on* ]] || append="slab_debug=FZP kmemleak=off $append"
# The tables of its memory are in a file that it maps: not on the disk.
qemu=(env TMPDIR=/dev/shm "${inroot[@]}" "$tree/linux" "mem=${mem}M" "ncpus=$cpus" seccomp=auto
	root=/dev/root rootfstype=hostfs rootflags=/ ro "init=$share/uml-init" panic=-1 oops=panic
	con=null con0=null,fd:1 con1=null,fd:5 con2=null,fd:6)
# shellcheck disable=SC2206
qemu+=($append)
