/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _COOP_BENCH_CALLERS_H
#define _COOP_BENCH_CALLERS_H

#include "harness.h"

#define MAX_CALLERS	8

/* What is to be worked on by one at a time. */
struct load {
	u64 words[4];
	u64 done;
};

/**
 * coop_bench_work - the work of one operation
 * @load: nobody else works on it now
 */
void coop_bench_work(struct load *load);

/**
 * coop_bench_callers - threads that all want the same done
 * @s: the sample
 * @ops: how often it is to be done, by all together
 * @callers: how many threads, each on a CPU of its own; one is the calling one
 * @op: gets coop_bench_work() done once, on @load
 * @arg: for @op
 * @load: that
 *
 * Each thread also works a little on its own between two operations. The value
 * is the time from the start of all to the last operation: in instructions,
 * those of all CPUs, waiting in a loop included. With as many threads on either
 * side, throughput is its inverse.
 */
int coop_bench_callers(struct sample *s, unsigned int ops, unsigned int callers,
		       int (*op)(void *arg), void *arg, struct load *load);

#endif /* _COOP_BENCH_CALLERS_H */
