// SPDX-License-Identifier: GPL-2.0
/*
 * Baselines of time: a kthread that sleeps, and hrtimers.
 */
#include <linux/hrtimer.h>
#include <linux/kernel_stat.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "baseline.h"

/* Far away: none of them fires. */
#define FAR	(1000 * (u64)NSEC_PER_SEC)

/*
 * Nanoseconds that the CPU of measurement has been idle: not work, though time
 * passes. (Whole microseconds: divided among many operations.)
 */
u64 coop_bench_idle_ns(void)
{
	return get_cpu_idle_time_us(coop_bench_cpu(), NULL) * NSEC_PER_USEC;
}
EXPORT_SYMBOL_GPL(coop_bench_idle_ns);

static void sleep_once(void)
{
	ktime_t duration = BENCH_SLEEP_NS;

	set_current_state(TASK_IDLE);
	schedule_hrtimeout(&duration, HRTIMER_MODE_REL);
}

/*
 * One op: a kthread arms a timer, sleeps, and is woken by it, idle time left
 * out. The timer's interrupt, two context switches and the way into idle and
 * out of it are in it.
 */
int run_hrtimer_kthread(struct sample *s, unsigned int ops)
{
	u64 start, idle;
	unsigned int i;

	for (i = 0; i < WARM_UP; i++)
		sleep_once();
	idle = coop_bench_idle_ns();
	start = start_clock();
	for (i = 0; i < ops; i++)
		sleep_once();
	s->ns = stop_clock() - start;
	s->ns -= min(s->ns, coop_bench_idle_ns() - idle);
	return 0;
}

static enum hrtimer_restart never(struct hrtimer *timer)
{
	return HRTIMER_NORESTART;
}

static void set_up(struct hrtimer *timer)
{
	hrtimer_setup(timer, never, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
}

static int start_cancel(struct sample *s, unsigned int ops, unsigned int others)
{
	struct hrtimer *timers;
	unsigned int i;
	u64 at = 0;

	timers = kvcalloc(others + 1, sizeof(*timers), GFP_KERNEL);
	if (!timers)
		return -ENOMEM;
	for (i = 0; i <= others; i++)
		set_up(&timers[i]);
	for (i = 1; i <= others; i++)
		hrtimer_start(&timers[i], FAR + (u64)i * NSEC_PER_MSEC,
			      HRTIMER_MODE_REL_PINNED);
	s->ns = timed_loop(ops, ({
		/* Anywhere among the others. */
		at = at * 5 + 1;
		hrtimer_start(&timers[0],
			      FAR + (at & 1023) * (others + 1) * 1000,
			      HRTIMER_MODE_REL_PINNED);
		hrtimer_cancel(&timers[0]);
	}));
	for (i = 1; i <= others; i++)
		hrtimer_cancel(&timers[i]);
	kvfree(timers);
	return 0;
}

/* One op: hrtimer_start(), and hrtimer_cancel() before it fires. */
int run_hrtimer_start_cancel(struct sample *s, unsigned int ops)
{
	return start_cancel(s, ops, 0);
}

/* The same among 1 000 others of the same CPU. */
int run_hrtimer_start_cancel_among_1000(struct sample *s, unsigned int ops)
{
	return start_cancel(s, ops, 1000);
}
