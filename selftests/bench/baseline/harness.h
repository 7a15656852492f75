/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A table of figures, and the two ways of taking time. The Rust side of it is
 * in ../harness.rs: layouts and constants must agree.
 */
#ifndef _COOP_BENCH_HARNESS_H
#define _COOP_BENCH_HARNESS_H

#include <linux/compiler.h>
#include <linux/timekeeping.h>
#include <linux/types.h>

/* Operations that run untimed first, so that caches and queues are filled. */
#define WARM_UP		32

/*
 * What a raw sample still holds besides the operations. The harness measures
 * it by the same code without an operation, and subtracts it.
 */
enum overhead {
	LOOP,		/* timed_loop(): counter, compare, branch */
	CLOCK,		/* a pair of clock reads around every operation */
	BYTES,		/* nothing: @ns is a number of bytes, and sure */
};

/* One repetition: @ops operations took @ns nanoseconds. */
struct sample {
	u64 ns;
	u64 ops;
};

/**
 * struct figure - one thing that is measured
 * @name: as it is printed and compared over time
 * @run: one repetition of @ops operations on the calling thread, which is
 *	 bound to the CPU of measurement; returns 0 or a negative errno
 * @ops: operations a repetition: few enough to fall between two timer ticks
 * @overhead: what to subtract
 * @cpus: online CPUs it needs
 * @repetitions: 0: as many as others
 */
struct figure {
	const char *name;
	int (*run)(struct sample *s, unsigned int ops);
	unsigned int ops;
	enum overhead overhead;
	unsigned int cpus;
	unsigned int repetitions;
};

/*
 * Marks of what is measured, for ../plugin/locked.c, which counts the locked
 * instructions in it: no-operations that nobody else uses. The clock reads are
 * outside.
 */
enum mark { MARK_FIGURE = 1, MARK_END, MARK_START, MARK_STOP };

#ifdef CONFIG_X86_64
#define bench_mark(mark)						\
	asm volatile(".byte 0x0f, 0x1f, 0x80; .long %c0"		\
		     : : "i" (0x6f6f6300 + (mark)) : "memory")
#else
#define bench_mark(mark)	barrier()
#endif

static __always_inline u64 start_clock(void)
{
	u64 now = ktime_get_ns();

	bench_mark(MARK_START);
	return now;
}

static __always_inline u64 stop_clock(void)
{
	bench_mark(MARK_STOP);
	return ktime_get_ns();
}

/*
 * timed_loop - nanoseconds that @ops executions of @op take, loop included
 *
 * A macro, so that @op is inlined as it is in a driver. The compiler must not
 * know the counter, or it unrolls the short loops and not the others.
 */
#define timed_loop(ops, op)						\
({									\
	unsigned int __i;						\
	u64 __start;							\
									\
	for (__i = 0; __i < WARM_UP; __i++) {				\
		op;							\
		barrier();						\
	}								\
	__start = start_clock();					\
	for (__i = 0; __i < (ops); __i++) {				\
		op;							\
		barrier();						\
		OPTIMIZER_HIDE_VAR(__i);				\
	}								\
	stop_clock() - __start;						\
})

/* The value is needed: what it takes to come by it is not optimised away. */
#define use_value(v)	asm volatile("" : : "r" (v) : "memory")

unsigned int coop_bench_cpu(void);
unsigned int coop_bench_other_cpu(void);
void coop_bench_wait_for_stop(void);

struct suite;

struct suite *coop_bench_register(const char *name,
				  const struct figure *figures,
				  unsigned int count);
void coop_bench_unregister(struct suite *suite);

#endif /* _COOP_BENCH_HARNESS_H */
