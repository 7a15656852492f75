// SPDX-License-Identifier: GPL-2.0
/*
 * Baselines of contention: 1, 2 and 4 threads, each on a CPU of its own, and a
 * critical section that all of them want.
 */
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/kthread.h>
#include <linux/mutex.h>
#include <linux/rtmutex.h>

#include "baseline.h"
#include "callers.h"

/* Steps of work under the lock, and between two operations. */
#define INSIDE	16
#define OUTSIDE	4

struct crowd {
	struct load *load;
	int (*op)(void *arg);
	void *arg;
	u64 goal;
	/* Rounds: one to warm up, one that counts. */
	unsigned int round;
	atomic_t waiting;
	int ret;
};

#define ROUNDS	2

/*
 * Not inlined: the same instructions for all that are compared. An emulated CPU
 * lets the next one run at a `pause`; one every few instructions makes all of
 * them advance in step, as real ones do. A CPU that waits in a loop spends as
 * many instructions then as the one that it waits for.
 */
static noinline void work(u64 *words, unsigned int steps)
{
	while (steps--) {
		words[0]++;
		barrier();
		words[1] += words[0];
		barrier();
		words[2] ^= words[1];
		barrier();
		words[3]++;
		cpu_relax();
	}
}

void coop_bench_work(struct load *load)
{
	work(load->words, INSIDE);
	WRITE_ONCE(load->done, load->done + 1);
}
EXPORT_SYMBOL_GPL(coop_bench_work);

static bool one_op(struct crowd *crowd, u64 *own)
{
	int ret;

	if (READ_ONCE(crowd->load->done) >= READ_ONCE(crowd->goal))
		return false;
	ret = crowd->op(crowd->arg);
	if (ret) {
		WRITE_ONCE(crowd->ret, ret);
		WRITE_ONCE(crowd->goal, 0);
		return false;
	}
	work(own, OUTSIDE);
	return true;
}

static int one_caller(void *data)
{
	struct crowd *crowd = data;
	unsigned int round;
	u64 own[4] = { };

	for (round = 1; round <= ROUNDS; round++) {
		atomic_inc(&crowd->waiting);
		while (smp_load_acquire(&crowd->round) < round)
			cpu_relax();
		while (one_op(crowd, own))
			;
	}
	coop_bench_wait_for_stop();
	return 0;
}

int coop_bench_callers(struct sample *s, unsigned int ops, unsigned int callers,
		       int (*op)(void *arg), void *arg, struct load *load)
{
	struct crowd crowd = { .load = load, .op = op, .arg = arg };
	struct task_struct *threads[MAX_CALLERS];
	unsigned int cpu = coop_bench_cpu(), others = 0, round;
	u64 own[4] = { }, before, start;

	while (others + 1 < min_t(unsigned int, callers, MAX_CALLERS)) {
		struct task_struct *t;

		cpu = cpumask_next(cpu, cpu_online_mask);
		t = kthread_run_on_cpu(one_caller, &crowd, cpu, "coop_call/%u");
		if (IS_ERR(t)) {
			crowd.ret = PTR_ERR(t);
			break;
		}
		threads[others++] = t;
	}
	for (round = 1; round <= ROUNDS && !crowd.ret; round++) {
		while (atomic_read(&crowd.waiting) < others * round)
			cpu_relax();
		before = load->done;
		crowd.goal = before + (round == ROUNDS ? ops : WARM_UP);
		start = round == ROUNDS ? start_clock() : 0;
		smp_store_release(&crowd.round, round);
		while (one_op(&crowd, own))
			;
		s->ns = stop_clock() - start;
		s->ops = READ_ONCE(load->done) - before;
	}
	WRITE_ONCE(crowd.goal, 0);
	WRITE_ONCE(crowd.round, ROUNDS);
	while (others)
		kthread_stop(threads[--others]);
	return crowd.ret;
}
EXPORT_SYMBOL_GPL(coop_bench_callers);

static DEFINE_MUTEX(a_mutex);
static DEFINE_RT_MUTEX(an_rt_mutex);
static struct load load;

static int with_mutex(void *unused)
{
	mutex_lock(&a_mutex);
	coop_bench_work(&load);
	mutex_unlock(&a_mutex);
	return 0;
}

static int with_rt_mutex(void *unused)
{
	rt_mutex_lock(&an_rt_mutex);
	coop_bench_work(&load);
	rt_mutex_unlock(&an_rt_mutex);
	return 0;
}

/* One op: the work done once, under a mutex that nobody else wants. */
int run_mutex_callers_1(struct sample *s, unsigned int ops)
{
	return coop_bench_callers(s, ops, 1, with_mutex, NULL, &load);
}

/* The same with two threads that want it. */
int run_mutex_callers_2(struct sample *s, unsigned int ops)
{
	return coop_bench_callers(s, ops, 2, with_mutex, NULL, &load);
}

/* And with four. */
int run_mutex_callers_4(struct sample *s, unsigned int ops)
{
	return coop_bench_callers(s, ops, 4, with_mutex, NULL, &load);
}

/* The same under an rt_mutex, which is what a baton is made of. */
int run_rt_mutex_callers_1(struct sample *s, unsigned int ops)
{
	return coop_bench_callers(s, ops, 1, with_rt_mutex, NULL, &load);
}

int run_rt_mutex_callers_2(struct sample *s, unsigned int ops)
{
	return coop_bench_callers(s, ops, 2, with_rt_mutex, NULL, &load);
}

int run_rt_mutex_callers_4(struct sample *s, unsigned int ops)
{
	return coop_bench_callers(s, ops, 4, with_rt_mutex, NULL, &load);
}
