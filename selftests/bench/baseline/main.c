// SPDX-License-Identifier: GPL-2.0
/*
 * coop_baseline - what a driver author would use without coop_domain, measured
 *
 * Loading runs nothing. Writing a figure's name, or "all", to
 * /sys/kernel/debug/coop_baseline/run measures it; reading `results` beside it
 * gives a line `name value unit` for each figure measured so far.
 *
 * Values are nanoseconds of ktime_get_ns() an operation. Under QEMU's
 * `-icount shift=0` a nanosecond is one executed instruction. A value is the
 * median of REPETITIONS repetitions, so that the few which a timer tick falls
 * into do not count; what the measuring itself costs is measured the same way
 * and subtracted.
 */
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "baseline.h"

#define REPETITIONS	31
#define SETTLE_MS	100

static const struct figure figures[] = {
	{ "base.mutex",			run_mutex,		4096, LOOP, 1 },
	{ "base.rt_mutex",		run_rt_mutex,		4096, LOOP, 1 },
	{ "base.spin_irqsave",		run_spin_irqsave,	4096, LOOP, 1 },
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
	{ "base.threaded_irq",		run_threaded_irq,	  64, CLOCK, 1 },
};

/* Tenths of a nanosecond an operation; 0: not measured yet. */
static u64 results[ARRAY_SIZE(figures)];

/* One run at a time; also covers results[]. */
static DEFINE_MUTEX(run_lock);
static struct dentry *debug_dir;

unsigned int this_bench_cpu(void)
{
	return cpumask_first(cpu_online_mask);
}

unsigned int other_bench_cpu(void)
{
	return cpumask_next(this_bench_cpu(), cpu_online_mask);
}

static int compare_u64(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

/* Median over the repetitions, in tenths of a nanosecond an operation. */
static int median_of(int (*run)(struct sample *s, unsigned int ops),
		     unsigned int ops, u64 *median)
{
	u64 tenths[REPETITIONS];
	struct sample s;
	unsigned int i;
	int ret;

	for (i = 0; i < REPETITIONS; i++) {
		s.ns = 0;
		s.ops = ops;
		ret = run(&s, ops);
		if (ret)
			return ret;
		if (!s.ops)
			return -ENODATA;
		tenths[i] = div64_u64(s.ns * 10 + s.ops / 2, s.ops);
	}
	sort(tenths, REPETITIONS, sizeof(tenths[0]), compare_u64, NULL);
	*median = tenths[REPETITIONS / 2];
	return 0;
}

static int run_empty_loop(struct sample *s, unsigned int ops)
{
	s->ns = timed_loop(ops, (void)0);
	return 0;
}

static int run_clock_pair(struct sample *s, unsigned int ops)
{
	unsigned int i;

	for (i = 0; i < ops; i++) {
		u64 start = ktime_get_ns();

		s->ns += ktime_get_ns() - start;
	}
	return 0;
}

static int measure(const struct figure *f, u64 *tenths)
{
	u64 overhead, raw;
	int ret;

	/* What the figure before left to be done elsewhere comes first. */
	msleep(SETTLE_MS);
	ret = median_of(f->overhead == LOOP ? run_empty_loop : run_clock_pair,
			f->ops, &overhead);
	if (!ret)
		ret = median_of(f->run, f->ops, &raw);
	if (!ret)
		*tenths = raw > overhead ? raw - overhead : 0;
	return ret;
}

/* What the measuring thread is asked for: figures[from] up to figures[to]. */
struct request {
	unsigned int from, to;
	int ret;
	struct completion done;
};

static int measuring_thread(void *data)
{
	struct request *req = data;
	unsigned int i;

	for (i = req->from; i < req->to && !req->ret; i++) {
		if (num_online_cpus() < figures[i].cpus)
			continue;
		req->ret = measure(&figures[i], &results[i]);
		if (req->ret)
			pr_err("%s: error %d\n", figures[i].name, req->ret);
	}
	kthread_complete_and_exit(&req->done, 0);
}

static int find_figures(const char *name, struct request *req)
{
	unsigned int i;

	req->from = 0;
	req->to = ARRAY_SIZE(figures);
	if (!strcmp(name, "all"))
		return 0;
	for (i = 0; i < ARRAY_SIZE(figures); i++) {
		if (strcmp(name, figures[i].name))
			continue;
		req->from = i;
		req->to = i + 1;
		return 0;
	}
	return -ENOENT;
}

static ssize_t run_write(struct file *file, const char __user *buf,
			 size_t len, loff_t *ppos)
{
	struct request req = { };
	struct task_struct *t;
	char name[64];
	int ret;

	if (len >= sizeof(name))
		return -EINVAL;
	if (copy_from_user(name, buf, len))
		return -EFAULT;
	name[len] = '\0';
	ret = find_figures(strim(name), &req);
	if (ret)
		return ret;

	guard(mutex)(&run_lock);
	init_completion(&req.done);
	t = kthread_run_on_cpu(measuring_thread, &req, this_bench_cpu(),
			       "coop_base/%u");
	if (IS_ERR(t))
		return PTR_ERR(t);
	wait_for_completion(&req.done);
	return req.ret ?: len;
}

static const struct file_operations run_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = run_write,
	.llseek = noop_llseek,
};

static int results_show(struct seq_file *m, void *unused)
{
	unsigned int i;

	guard(mutex)(&run_lock);
	for (i = 0; i < ARRAY_SIZE(figures); i++)
		if (results[i])
			seq_printf(m, "%s %llu.%llu ns/op\n", figures[i].name,
				   results[i] / 10, results[i] % 10);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(results);

static int __init coop_baseline_init(void)
{
	debug_dir = debugfs_create_dir("coop_baseline", NULL);
	debugfs_create_file("run", 0200, debug_dir, NULL, &run_fops);
	debugfs_create_file("results", 0444, debug_dir, NULL, &results_fops);
	return 0;
}

static void __exit coop_baseline_exit(void)
{
	debugfs_remove(debug_dir);
}

module_init(coop_baseline_init);
module_exit(coop_baseline_exit);
MODULE_DESCRIPTION("Baselines for the figures of coop_domain");
MODULE_LICENSE("GPL");
