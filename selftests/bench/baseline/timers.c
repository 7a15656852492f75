// SPDX-License-Identifier: GPL-2.0
/*
 * Baselines of time: a kthread that sleeps, and hrtimers.
 */
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <uapi/linux/sched/types.h>

#include "baseline.h"

/* Far away: none of them fires. */
#define FAR	(1000 * (u64)NSEC_PER_SEC)

/*
 * Idle time is not work, though time passes, and the kernel's own account of it is
 * a sample. So a thread of policy SCHED_IDLE uses it up, and counts.
 */
static struct task_struct *idler;
static u64 idle_turns, last_turn;

/* A few grace periods. */
#define RCU_SETTLE_MS	100

/* As many as are timed: a nanosecond more or less of that is nothing. */
#define TURNS	16384
static u64 ns_per_turns;

/* All that the idle thread does, and what is timed: nothing else is idle time. */
static noinline void count_turns(void)
{
	while (READ_ONCE(idle_turns) < READ_ONCE(last_turn)) {
		WRITE_ONCE(idle_turns, idle_turns + 1);
		/* cond_resched() would let a lazy request stand until the next tick. */
		if (need_resched() || test_thread_flag(TIF_NEED_RESCHED_LAZY))
			schedule();
	}
}

/* An interrupt makes it longer, never shorter. */
static u64 time_turns(u64 turns)
{
	u64 shortest = U64_MAX;
	int i;

	for (i = 0; i < 8; i++) {
		u64 start = ktime_get_ns();

		WRITE_ONCE(last_turn, idle_turns + turns);
		count_turns();
		shortest = min(shortest, ktime_get_ns() - start);
	}
	return shortest;
}

static int idle_away(void *unused)
{
	count_turns();
	coop_bench_wait_for_stop();
	return 0;
}

/*
 * From now on, until coop_bench_idle_stop(), the idle time of the CPU of
 * measurement is counted. By a thread that is bound to that CPU.
 */
int coop_bench_idle_start(void)
{
	struct sched_attr attr = { .sched_policy = SCHED_IDLE };
	struct task_struct *thread;

	/* What it takes to measure falls out. */
	ns_per_turns = time_turns(2 * TURNS) - time_turns(TURNS);
	thread = kthread_create(idle_away, NULL, "coop_bench/idle");
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	kthread_bind(thread, coop_bench_cpu());
	sched_setattr_nocheck(thread, &attr);
	WRITE_ONCE(last_turn, U64_MAX);
	idler = thread;
	/* What the making of threads, and the end of others, left to RCU comes first. */
	msleep(RCU_SETTLE_MS);
	wake_up_process(idler);
	return 0;
}
EXPORT_SYMBOL_GPL(coop_bench_idle_start);

void coop_bench_idle_stop(void)
{
	WRITE_ONCE(last_turn, 0);
	kthread_stop(idler);
}
EXPORT_SYMBOL_GPL(coop_bench_idle_stop);

/* Nanoseconds that the CPU of measurement has been idle, from anywhere on. */
u64 coop_bench_idle_ns(void)
{
	return READ_ONCE(idle_turns) * ns_per_turns / TURNS;
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
 * out. The timer's interrupt and two context switches are in it.
 */
int run_hrtimer_kthread(struct sample *s, unsigned int ops)
{
	u64 start, idle;
	unsigned int i;
	int ret;

	ret = coop_bench_idle_start();
	if (ret)
		return ret;
	for (i = 0; i < WARM_UP; i++)
		sleep_once();
	idle = coop_bench_idle_ns();
	start = start_clock();
	for (i = 0; i < ops; i++)
		sleep_once();
	s->ns = stop_clock() - start;
	s->ns -= min(s->ns, coop_bench_idle_ns() - idle);
	coop_bench_idle_stop();
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
