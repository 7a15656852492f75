// SPDX-License-Identifier: GPL-2.0
/*
 * coop_baseline - what a driver author would use without coop_domain, measured
 *
 * Loading runs nothing. Writing a figure's name, or "all", to
 * /sys/kernel/debug/coop_baseline/run measures it; reading `results` beside it
 * gives a line `name value unit` for each figure measured so far. The file
 * `figures` lists the names.
 */
#include <linux/err.h>
#include <linux/module.h>

#include "baseline.h"

static const struct figure figures[] = {
	/* First, and always: the others are counted alike. */
	{ "check.counts",		run_check_counts,	1024, LOOP, 1 },
	{ "base.mutex",			run_mutex,		4096, LOOP, 1 },
	{ "base.semaphore",		run_semaphore,		4096, LOOP, 1 },
	{ "base.rt_mutex",		run_rt_mutex,		4096, LOOP, 1 },
	{ "base.spin_irqsave",		run_spin_irqsave,	4096, LOOP, 1 },
	{ "base.spin_bh",		run_spin_bh,		4096, LOOP, 1 },
	{ "base.kfifo",			run_kfifo,		4096, LOOP, 1 },
	{ "base.kfifo_static",		run_kfifo_static,	4096, LOOP, 1 },
	{ "base.ptr_ring",		run_ptr_ring,		4096, LOOP, 1 },
	{ "base.kmalloc_kfree",		run_kmalloc_kfree,	1024, LOOP, 1 },
	{ "base.schedule",		run_schedule,		 128, LOOP, 1 },
	{ "base.pingpong_same_cpu",	run_pingpong_same_cpu,	  64, LOOP, 1 },
	{ "base.pingpong_cross_cpu",	run_pingpong_cross_cpu,	  64, LOOP, 2 },
	{ "base.wake_up_process",	run_wake_up_process,	  64, CLOCK, 1 },
	{ "base.wake_up_process_running",
				run_wake_up_process_running,	1024, LOOP, 1 },
	{ "base.kthread_create_stop",	run_kthread_create_stop,  16, LOOP, 1 },
	{ "base.queue_work_busy",	run_queue_work_busy,	 256, LOOP, 1 },
	{ "base.workqueue",		run_workqueue,		  64, LOOP, 1 },
	{ "base.ordered_workqueue",	run_ordered_workqueue,	  64, LOOP, 1 },
	{ "base.kthread_worker_same_cpu",
				run_kthread_worker_same_cpu,	  64, LOOP, 1 },
	{ "base.kthread_worker_cross_cpu",
				run_kthread_worker_cross_cpu,	  64, LOOP, 2 },
	{ "base.mutex_callers_1",	run_mutex_callers_1,	 512, LOOP, 1 },
	{ "base.mutex_callers_2",	run_mutex_callers_2,	 512, LOOP, 2 },
	{ "base.mutex_callers_4",	run_mutex_callers_4,	 512, LOOP, 4 },
	{ "base.rt_mutex_callers_1",	run_rt_mutex_callers_1,	 512, LOOP, 1 },
	{ "base.rt_mutex_callers_2",	run_rt_mutex_callers_2,	 512, LOOP, 2 },
	{ "base.rt_mutex_callers_4",	run_rt_mutex_callers_4,	 512, LOOP, 4 },
	{ "base.threaded_irq",		run_threaded_irq,	  64, CLOCK, 1 },
	{ "base.hrtimer_kthread",	run_hrtimer_kthread,	 256, LOOP, 1 },
	{ "base.hrtimer_start_cancel",	run_hrtimer_start_cancel, 512, LOOP, 1 },
	{ "base.hrtimer_start_cancel_among_1000",
				run_hrtimer_start_cancel_among_1000, 512, LOOP, 1 },
};

static struct suite *suite;

static int __init coop_baseline_init(void)
{
	suite = coop_bench_register("coop_baseline", figures,
				    ARRAY_SIZE(figures));
	return PTR_ERR_OR_ZERO(suite);
}

static void __exit coop_baseline_exit(void)
{
	coop_bench_unregister(suite);
}

module_init(coop_baseline_init);
module_exit(coop_baseline_exit);
MODULE_DESCRIPTION("Baselines for the figures of coop_domain");
MODULE_LICENSE("GPL");
