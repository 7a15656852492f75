# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# What no kernel log may show: the words of the kernel's own checkers. Sourced by
# whoever looks for them, in a guest or at its console's log. (The watchdog of the other end's C driver,
# an interface called "peer", may find that a busy machine was late.)

SPLAT='WARNING: |BUG: |Oops|general protection|Kernel panic|panicked at|kernel BUG|UBSAN|KASAN|possible (circular|recursive) locking|inconsistent lock state|suspicious RCU|rcu.*(stall|expedited stall)|soft lockup|hard LOCKUP|hung task|blocked for more than|refcount_t|scheduling while atomic|sleeping function called|list_(add|del) corruption|Bad page|([^r]|[^e]r|[^e]er|[^p]eer): NETDEV WATCHDOG|nobody cared|Unable to handle|trap: |BUG [a-zA-Z0-9_-]+ \(|non-static key|suspected memory leak'

# Fails, and shows it, if there is such a thing in this machine's log.
dmesg_is_clean()
{
	local found
	found=$(dmesg | grep -E -m1 -A30 "$SPLAT") || return 0
	# shellcheck disable=SC2001
	sed 's/^/# /' <<<"$found"
	return 1
}
