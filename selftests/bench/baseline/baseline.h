/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of coop_baseline.ko share: the figure table and the two ways
 * of taking time.
 */
#ifndef _COOP_BASELINE_H
#define _COOP_BASELINE_H

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
 */
struct figure {
	const char *name;
	int (*run)(struct sample *s, unsigned int ops);
	unsigned int ops;
	enum overhead overhead;
	unsigned int cpus;
};

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
	__start = ktime_get_ns();					\
	for (__i = 0; __i < (ops); __i++) {				\
		op;							\
		barrier();						\
		OPTIMIZER_HIDE_VAR(__i);				\
	}								\
	ktime_get_ns() - __start;					\
})

/* The value is needed: what it takes to come by it is not optimised away. */
#define use_value(v)	asm volatile("" : : "r" (v) : "memory")

/* The CPU that the measuring thread is bound to, and one that it is not. */
unsigned int this_bench_cpu(void);
unsigned int other_bench_cpu(void);

/* locks.c */
int run_mutex(struct sample *s, unsigned int ops);
int run_rt_mutex(struct sample *s, unsigned int ops);
int run_spin_irqsave(struct sample *s, unsigned int ops);
int run_kfifo(struct sample *s, unsigned int ops);
int run_kfifo_static(struct sample *s, unsigned int ops);
int run_ptr_ring(struct sample *s, unsigned int ops);
int run_kmalloc_kfree(struct sample *s, unsigned int ops);

/* threads.c */
int run_schedule(struct sample *s, unsigned int ops);
int run_pingpong_same_cpu(struct sample *s, unsigned int ops);
int run_pingpong_cross_cpu(struct sample *s, unsigned int ops);
int run_wake_up_process_running(struct sample *s, unsigned int ops);
int run_wake_up_process(struct sample *s, unsigned int ops);
int run_kthread_create_stop(struct sample *s, unsigned int ops);

/* work.c */
int run_queue_work_busy(struct sample *s, unsigned int ops);
int run_workqueue(struct sample *s, unsigned int ops);
int run_ordered_workqueue(struct sample *s, unsigned int ops);
int run_kthread_worker_same_cpu(struct sample *s, unsigned int ops);
int run_kthread_worker_cross_cpu(struct sample *s, unsigned int ops);

/* irq.c */
int run_threaded_irq(struct sample *s, unsigned int ops);

#endif /* _COOP_BASELINE_H */
