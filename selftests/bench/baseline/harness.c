// SPDX-License-Identifier: GPL-2.0
/*
 * How a figure is measured: the same for the baselines in C and for the runtime
 * in Rust (coop_bench.ko registers its table here).
 *
 * Values are nanoseconds of ktime_get_ns() an operation. Under QEMU's
 * `-icount shift=0` a nanosecond is one executed instruction. A value is the
 * median of REPETITIONS repetitions, fewer where one takes long, so that the
 * few which a timer tick falls into do not count; what the measuring itself
 * costs is measured the same way and subtracted.
 */
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "harness.h"

#define REPETITIONS	31
#define SETTLE_MS	12

struct result {
	/* Tenths of a unit; 0: not measured yet. */
	u64 tenths;
	/* Operations between two marks. */
	u64 ops;
};

struct suite {
	const struct figure *figures;
	unsigned int count;
	struct dentry *dir;
	/* Covered by run_lock. */
	struct result results[] __counted_by(count);
};

/* One run at a time, whichever the suite. */
static DEFINE_MUTEX(run_lock);

/**
 * coop_bench_cpu - the CPU that the measuring thread is bound to
 */
unsigned int coop_bench_cpu(void)
{
	return cpumask_first(cpu_online_mask);
}
EXPORT_SYMBOL_GPL(coop_bench_cpu);

/**
 * coop_bench_other_cpu - one that it is not bound to
 */
unsigned int coop_bench_other_cpu(void)
{
	return cpumask_next(coop_bench_cpu(), cpu_online_mask);
}
EXPORT_SYMBOL_GPL(coop_bench_other_cpu);

/* kthread_stop() needs the thread to be there still. */
void coop_bench_wait_for_stop(void)
{
	for (;;) {
		set_current_state(TASK_IDLE);
		if (kthread_should_stop())
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);
}

static int compare_u64(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

/*
 * Median over the repetitions, in tenths of a nanosecond an operation. @overhead
 * is subtracted once for each of the @ops rounds that were asked for, which may
 * do more than one operation.
 */
static int median_of(int (*run)(struct sample *s, unsigned int ops),
		     unsigned int ops, unsigned int repetitions, u64 overhead,
		     struct result *median)
{
	u64 tenths[REPETITIONS], raw;
	struct sample s;
	unsigned int i;
	int ret;

	repetitions = min(repetitions ?: REPETITIONS, REPETITIONS);
	for (i = 0; i < repetitions; i++) {
		/*
		 * What the repetition before left to be done elsewhere comes
		 * first, and the next tick is far.
		 */
		msleep(SETTLE_MS);
		s.ns = 0;
		s.ops = ops;
		ret = run(&s, ops);
		if (ret)
			return ret;
		if (!s.ops)
			return -ENODATA;
		raw = s.ns * 10;
		raw -= min(raw, overhead * ops);
		tenths[i] = div64_u64(raw + s.ops / 2, s.ops);
	}
	sort(tenths, repetitions, sizeof(tenths[0]), compare_u64, NULL);
	median->tenths = tenths[repetitions / 2];
	median->ops = s.ops;
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
		u64 start = start_clock();

		s->ns += stop_clock() - start;
	}
	return 0;
}

static int measure(const struct figure *f, struct result *result)
{
	struct sample s = { };
	struct result overhead;
	int ret;

	if (f->overhead == BYTES) {
		ret = f->run(&s, f->ops);
		result->tenths = s.ns * 10;
		return ret;
	}

	ret = median_of(f->overhead == LOOP ? run_empty_loop : run_clock_pair,
			f->ops, REPETITIONS, 0, &overhead);
	if (ret)
		return ret;
	bench_mark(MARK_FIGURE);
	ret = median_of(f->run, f->ops, f->repetitions, overhead.tenths,
			result);
	bench_mark(MARK_END);
	/* Marks surround each single operation as the clock reads do. */
	if (f->overhead == CLOCK)
		result->ops = 1;
	return ret;
}

/* What the measuring thread is asked for: figures[from] up to figures[to]. */
struct request {
	struct suite *suite;
	unsigned int from, to;
	int ret;
	struct completion done;
};

static int measuring_thread(void *data)
{
	struct request *req = data;
	const struct figure *figures = req->suite->figures;
	unsigned int i;

	for (i = req->from; i < req->to && !req->ret; i++) {
		if (num_online_cpus() < figures[i].cpus)
			continue;
		req->ret = measure(&figures[i], &req->suite->results[i]);
		if (req->ret)
			pr_err("%s: error %d\n", figures[i].name, req->ret);
	}
	kthread_complete_and_exit(&req->done, 0);
}

static int find_figures(const char *name, struct request *req)
{
	unsigned int i;

	req->from = 0;
	req->to = req->suite->count;
	if (!strcmp(name, "all"))
		return 0;
	for (i = 0; i < req->suite->count; i++) {
		if (strcmp(name, req->suite->figures[i].name))
			continue;
		req->from = i;
		req->to = i + 1;
		/* Of all, those for which there are too few CPUs are left out. */
		return num_online_cpus() < req->suite->figures[i].cpus ?
		       -ENODEV : 0;
	}
	return -ENOENT;
}

static ssize_t run_write(struct file *file, const char __user *buf,
			 size_t len, loff_t *ppos)
{
	struct request req = { .suite = file->private_data };
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
	t = kthread_run_on_cpu(measuring_thread, &req, coop_bench_cpu(),
			       "coop_bench/%u");
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
	struct suite *suite = m->private;
	unsigned int i;

	guard(mutex)(&run_lock);
	for (i = 0; i < suite->count; i++)
		if (suite->results[i].tenths)
			seq_printf(m, "%s %llu.%llu %s %llu\n",
				   suite->figures[i].name,
				   suite->results[i].tenths / 10,
				   suite->results[i].tenths % 10,
				   suite->figures[i].overhead == BYTES ?
				   "bytes" : "ns/op",
				   suite->results[i].ops);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(results);

static int figures_show(struct seq_file *m, void *unused)
{
	struct suite *suite = m->private;
	unsigned int i;

	for (i = 0; i < suite->count; i++)
		seq_printf(m, "%s\n", suite->figures[i].name);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(figures);

/**
 * coop_bench_register - offer a table of figures in debugfs
 * @name: the folder's name
 * @figures: the table, which stays until coop_bench_unregister()
 * @count: its length
 *
 * Return: the suite, or an ERR_PTR().
 */
struct suite *coop_bench_register(const char *name,
				  const struct figure *figures,
				  unsigned int count)
{
	struct suite *suite;

	suite = kzalloc(struct_size(suite, results, count), GFP_KERNEL);
	if (!suite)
		return ERR_PTR(-ENOMEM);
	suite->count = count;
	suite->figures = figures;
	suite->dir = debugfs_create_dir(name, NULL);
	debugfs_create_file("run", 0200, suite->dir, suite, &run_fops);
	debugfs_create_file("results", 0444, suite->dir, suite, &results_fops);
	debugfs_create_file("figures", 0444, suite->dir, suite, &figures_fops);
	return suite;
}
EXPORT_SYMBOL_GPL(coop_bench_register);

/**
 * coop_bench_unregister - returns when nothing of the table runs any more
 * @suite: what coop_bench_register() returned
 */
void coop_bench_unregister(struct suite *suite)
{
	debugfs_remove(suite->dir);
	kfree(suite);
}
EXPORT_SYMBOL_GPL(coop_bench_unregister);
