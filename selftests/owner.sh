#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 600
# Invariant 6: no code of a module runs after its unload, whatever it leaves
# behind; and a module with something in use is not unloaded.
. "$(dirname "$0")/kernel/lib.sh"

CYCLES=${CYCLES:-200}
ktap_print_header
load || give_up "cannot load the modules of $MODULES"
ktap_set_plan 16

run() { echo "$1" >"$TESTS/run" && return; sed 's/^/# /' "$TESTS/log"; return 1; }
refuses_to_go()
{
	local said
	if said=$(rmmod "$1" 2>&1); then
		echo "# rmmod $1 went through"
		return 1
	fi
	[[ $said == *"in use"* ]] && return
	echo "# $said"
	return 1
}
domains() { [ "$(find "$DEBUGFS/coop_domain" -mindepth 1 -maxdepth 1 | wc -l)" = "$1" ]; }
threads() { [ "$(ps -e -o comm | grep -c '^coop/')" = "$1" ]; }
nothing_left() { domains 0 && no_home_threads; }

check "coop_domain.ko stays while a driver is loaded" refuses_to_go coop_domain

held()
{
	run owner.hold && domains 1 && refuses_to_go coop_test && run owner.release &&
		nothing_left && rmmod coop_test && load
}
check "a domain can hold its module" held

forgotten()
{
	run owner.forget_a_domain && domains 1 && threads 1 && rmmod coop_test && nothing_left &&
		dmesg | grep -q "forgotten coroutine is dropped"
}
check "a forgotten domain ends with its module, destructors and all" forgotten
said_so() { dmesg | grep -q "module goes without having dropped its domain"; }
check "and the log says so" said_so
check "a module can be loaded again after that" load

inside()
{
	local i
	for ((i = 0; i < 10; i++)); do
		load && run owner.drop_inside_and_go && rmmod coop_test && nothing_left || return
	done
}
check "a domain that ends by itself is waited for" inside

wakers()
{
	local i
	for ((i = 0; i < 5; i++)); do
		load && run owner.keep_waker && rmmod coop_test && nothing_left || return
	done
}
check "wake-ups until the module goes" wakers

lodged()
{
	local i
	for ((i = 0; i < 10; i++)); do
		load && run owner.lodge && dmesg -C || return
		insmod "$MODULES/coop_cycle.ko" lodger=20 && rmmod coop_cycle || return
		[ "$(dmesg | grep -c 'lodger [0-9]* is dropped')" = 20 ] && run owner.lodge_works || return
		rmmod coop_test && nothing_left || return
	done
}
check "coroutines in a domain of another module go with their own" lodged

moved_out()
{
	local i release
	for ((i = 0; i < 3; i++)); do
		load && run owner.lodge && dmesg -C || return
		insmod "$MODULES/coop_cycle.ko" lodger=20 slow=20 || return
		run owner.release &
		release=$!
		wait_for 60 eval 'dmesg | grep -q "lodger [0-9]* is dropped"' || return
		rmmod coop_cycle || return
		[ "$(dmesg | grep -c 'lodger [0-9]* is dropped')" = 20 ] || return
		wait $release && rmmod coop_test && nothing_left || return
	done
}
check "a module waits for a domain that ends, and drops its coroutines" moved_out

killed()
{
	local pid
	dmesg -C
	bash -c "echo owner.hang >$TESTS/run" 2>/dev/null &
	pid=$!
	# shellcheck disable=SC2016
	wait_for 60 eval 'dmesg | grep -q "hang: calling"' || return
	sleep 0.2
	kill -9 $pid
	wait $pid 2>/dev/null
	dmesg | grep -q "hang: the call ended with Err(EINTR)" && nothing_left
}
load
check "kill -9 ends a process that waits for an answer" killed
check "the kernel log is clean so far" dmesg_is_clean

memory() { memory_of_kernel; }
cycles()
{
	local i
	for ((i = 0; i < $1; i++)); do
		insmod "$MODULES/coop_cycle.ko" senders_first=$((i % 2)) && rmmod coop_cycle ||
			{ echo "# cycle $i"; return 1; }
	done
	nothing_left
}
check "some loads and unloads under traffic" cycles 20
before=$(memory)
check "$CYCLES loads and unloads under traffic" cycles "$CYCLES"
# A mailbox or a stack that is left behind each time would be 16 KiB.
check "they leave no memory behind" little_more "$before" $((CYCLES * 8))
unload_all() { [ ! -d /sys/module/coop_test ] || rmmod coop_test; rmmod coop_domain; }
check "then coop_domain.ko can go, too" unload_all
check "the kernel log is clean" dmesg_is_clean
ktap_finished
