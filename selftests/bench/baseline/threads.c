// SPDX-License-Identifier: GPL-2.0
/*
 * Baselines of the scheduler: switches, wake-ups and threads, bare.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/sched.h>
#include <uapi/linux/sched/types.h>

#include "baseline.h"

/* Whose turn it is in a ping-pong. */
enum turn { MEASURER, PARTNER, OVER };

struct pingpong {
	enum turn turn;
	struct task_struct *thread[2];
};

/* The leanest correct hand-over: one word, one wake-up, one sleep. */
static enum turn wait_turn(struct pingpong *pp, enum turn me)
{
	enum turn turn;

	for (;;) {
		set_current_state(TASK_IDLE);
		turn = READ_ONCE(pp->turn);
		if (turn == me || turn == OVER)
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);
	return turn;
}

static void pass_turn(struct pingpong *pp, enum turn to)
{
	smp_store_release(&pp->turn, to);
	wake_up_process(pp->thread[to]);
}

static int pingpong_partner(void *data)
{
	struct pingpong *pp = data;

	while (wait_turn(pp, PARTNER) != OVER)
		pass_turn(pp, MEASURER);
	coop_bench_wait_for_stop();
	return 0;
}

static int run_pingpong(struct sample *s, unsigned int ops, unsigned int cpu)
{
	struct pingpong pp = { .turn = MEASURER, .thread = { current } };
	struct task_struct *t;

	t = kthread_create_on_cpu(pingpong_partner, &pp, cpu, "coop_pong/%u");
	if (IS_ERR(t))
		return PTR_ERR(t);
	pp.thread[PARTNER] = t;
	s->ns = timed_loop(ops, ({
		pass_turn(&pp, PARTNER);
		wait_turn(&pp, MEASURER);
	}));
	WRITE_ONCE(pp.turn, OVER);
	kthread_stop(t);
	return 0;
}

/*
 * One op: a round trip, that is two wake_up_process() and two switches,
 * between two threads of one CPU.
 */
int run_pingpong_same_cpu(struct sample *s, unsigned int ops)
{
	return run_pingpong(s, ops, coop_bench_cpu());
}

/* The same between two CPUs, each idle while the other one works. */
int run_pingpong_cross_cpu(struct sample *s, unsigned int ops)
{
	return run_pingpong(s, ops, coop_bench_other_cpu());
}

static int yielding_partner(void *unused)
{
	while (!kthread_should_stop())
		yield();
	return 0;
}

/*
 * One op: one switch from a thread that yields to the other runnable thread of
 * its CPU. Counted by the switches that happened, in case a yield found the
 * scheduler of another opinion.
 */
int run_schedule(struct sample *s, unsigned int ops)
{
	unsigned long before = 0;
	unsigned int i;
	struct task_struct *t;

	t = kthread_run_on_cpu(yielding_partner, NULL, coop_bench_cpu(),
			       "coop_yield/%u");
	if (IS_ERR(t))
		return PTR_ERR(t);
	for (i = 0; i < WARM_UP; i++)
		yield();
	before = current->nvcsw + current->nivcsw;
	s->ns = start_clock();
	for (i = 0; i < ops; i++)
		yield();
	s->ns = stop_clock() - s->ns;
	/* Each switch away from here came with one back. */
	s->ops = 2 * (current->nvcsw + current->nivcsw - before);
	kthread_stop(t);
	return 0;
}

/* One op: wake_up_process() of a thread that is running: nothing to do. */
int run_wake_up_process_running(struct sample *s, unsigned int ops)
{
	s->ns = timed_loop(ops, wake_up_process(current));
	return 0;
}

static int sleeping_thread(void *unused)
{
	set_current_state(TASK_IDLE);
	while (!kthread_should_stop()) {
		schedule();
		set_current_state(TASK_IDLE);
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

/*
 * One op: wake_up_process() of a kthread that sleeps on the same CPU, the
 * waker's side alone: it is a FIFO thread here, so that what it woke has to
 * wait until the clock has been read.
 */
int run_wake_up_process(struct sample *s, unsigned int ops)
{
	struct task_struct *t;
	unsigned int i;

	t = kthread_run_on_cpu(sleeping_thread, NULL, coop_bench_cpu(),
			       "coop_sleep/%u");
	if (IS_ERR(t))
		return PTR_ERR(t);
	sched_set_fifo(current);
	for (i = 0; i < WARM_UP + ops; i++) {
		u64 start;

		while (READ_ONCE(t->__state) != TASK_IDLE || READ_ONCE(t->on_cpu) ||
		       READ_ONCE(t->on_rq))
			usleep_range(20, 40);
		start = start_clock();
		wake_up_process(t);
		start = stop_clock() - start;
		if (i >= WARM_UP)
			s->ns += start;
	}
	sched_set_normal(current, 0);
	kthread_stop(t);
	return 0;
}

static int short_lived(void *unused)
{
	coop_bench_wait_for_stop();
	return 0;
}

/* One op: a kthread is made, bound, runs, and is stopped. */
int run_kthread_create_stop(struct sample *s, unsigned int ops)
{
	struct task_struct *t = NULL;

	s->ns = timed_loop(ops, ({
		t = kthread_run_on_cpu(short_lived, NULL, coop_bench_cpu(),
				       "coop_short/%u");
		if (IS_ERR(t))
			return PTR_ERR(t);
		kthread_stop(t);
	}));
	return 0;
}
