// SPDX-License-Identifier: GPL-2.0
/*
 * Baselines of what serialises a driver's work today: workqueues and
 * kthread_worker. A round trip is queue and flush, the usual way to wait.
 */
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <uapi/linux/sched/types.h>

#include "baseline.h"

static void nothing(struct work_struct *work)
{
}

static int run_on_workqueue(struct sample *s, unsigned int ops,
			    struct workqueue_struct *wq)
{
	struct work_struct work;

	if (!wq)
		return -ENOMEM;
	INIT_WORK_ONSTACK(&work, nothing);
	s->ns = timed_loop(ops, ({
		queue_work(wq, &work);
		flush_work(&work);
	}));
	destroy_work_on_stack(&work);
	destroy_workqueue(wq);
	return 0;
}

/* One op: queue_work() to a per-CPU workqueue and flush_work(). */
int run_workqueue(struct sample *s, unsigned int ops)
{
	return run_on_workqueue(s, ops,
				alloc_workqueue("coop_base", WQ_PERCPU, 0));
}

/*
 * The same on an ordered workqueue. Its worker runs where the mask of unbound
 * workqueues lets it and stays where it first ran: whoever wants the same value
 * twice sets that mask to one CPU (selftests/bench/run does).
 */
int run_ordered_workqueue(struct sample *s, unsigned int ops)
{
	return run_on_workqueue(s, ops, alloc_ordered_workqueue("coop_base", 0));
}

/* A work item that keeps its worker running until it is told to end. */
struct blocker {
	struct work_struct work;
	struct completion running;
	bool end;
};

static void block(struct work_struct *work)
{
	struct blocker *b = container_of(work, struct blocker, work);

	complete(&b->running);
	while (!READ_ONCE(b->end))
		cpu_relax();
}

/*
 * One op: queue_work() to a per-CPU workqueue whose worker is running, so that
 * nobody has to be woken. The worker is kept from the CPU, in the middle of a
 * work item, by the measuring thread, which is a FIFO thread here: it takes
 * part in nothing that is timed.
 */
int run_queue_work_busy(struct sample *s, unsigned int ops)
{
	struct workqueue_struct *wq;
	struct work_struct *works;
	struct blocker b = { };
	unsigned int i;
	u64 start = 0;

	works = kcalloc(WARM_UP + ops, sizeof(*works), GFP_KERNEL);
	wq = alloc_workqueue("coop_base", WQ_PERCPU, 0);
	if (!works || !wq) {
		kfree(works);
		if (wq)
			destroy_workqueue(wq);
		return -ENOMEM;
	}
	for (i = 0; i < WARM_UP + ops; i++)
		INIT_WORK(&works[i], nothing);
	INIT_WORK_ONSTACK(&b.work, block);
	init_completion(&b.running);

	sched_set_fifo(current);
	queue_work(wq, &b.work);
	wait_for_completion(&b.running);
	for (i = 0; i < WARM_UP; i++)
		queue_work(wq, &works[i]);
	start = start_clock();
	for (; i < WARM_UP + ops; i++)
		queue_work(wq, &works[i]);
	s->ns = stop_clock() - start;
	WRITE_ONCE(b.end, true);
	sched_set_normal(current, 0);

	destroy_workqueue(wq);
	destroy_work_on_stack(&b.work);
	kfree(works);
	return 0;
}

static void kthread_nothing(struct kthread_work *work)
{
}

static int run_kthread_worker(struct sample *s, unsigned int ops,
			      unsigned int cpu)
{
	struct kthread_worker *worker;
	struct kthread_work work;

	worker = kthread_run_worker_on_cpu(cpu, 0, "coop_work/%u");
	if (IS_ERR(worker))
		return PTR_ERR(worker);
	kthread_init_work(&work, kthread_nothing);
	s->ns = timed_loop(ops, ({
		kthread_queue_work(worker, &work);
		kthread_flush_work(&work);
	}));
	kthread_destroy_worker(worker);
	return 0;
}

/*
 * One op: kthread_queue_work() and kthread_flush_work(), the worker bound to
 * the caller's CPU.
 */
int run_kthread_worker_same_cpu(struct sample *s, unsigned int ops)
{
	return run_kthread_worker(s, ops, coop_bench_cpu());
}

/* The same with the worker bound to another CPU. */
int run_kthread_worker_cross_cpu(struct sample *s, unsigned int ops)
{
	return run_kthread_worker(s, ops, coop_bench_other_cpu());
}
