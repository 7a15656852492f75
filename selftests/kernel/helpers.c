// SPDX-License-Identifier: GPL-2.0
/*
 * What tests need of C: code run in any context, an interrupt line without a
 * device, threads that can be killed. sys.rs wraps it.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irq_work.h>
#include <linux/irqdesc.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/smp.h>
#include <linux/spinlock.h>

#include "helpers.h"

/*
 * An interrupt of a CPU, by that CPU or another. Not sent again before its
 * function was called.
 */
struct poke {
	struct irq_work self;
	call_single_data_t from_others;
	void (*fn)(struct poke *poke);
};

static void poke_self(struct irq_work *work)
{
	struct poke *poke = container_of(work, struct poke, self);

	poke->fn(poke);
}

/* It may be the idle thread that calls this: still not an interrupt. */
static void poke_from_others(void *poke)
{
	irq_work_queue(&((struct poke *)poke)->self);
}

static void poke_init(struct poke *poke, void (*fn)(struct poke *poke))
{
	poke->self = IRQ_WORK_INIT_HARD(poke_self);
	INIT_CSD(&poke->from_others, poke_from_others, poke);
	poke->fn = fn;
}

static void poke_send(struct poke *poke, unsigned int cpu)
{
	if (get_cpu() == cpu)
		irq_work_queue(&poke->self);
	else
		smp_call_function_single_async(cpu, &poke->from_others);
	put_cpu();
}

/* A function on its way to an interrupt. */
struct trip {
	struct poke poke;
	struct tasklet_struct tasklet;
	struct completion done;
	bool soft;
	coop_test_fn fn;
	void *data;
};

static void trip_soft(struct tasklet_struct *tasklet)
{
	struct trip *trip = from_tasklet(trip, tasklet, tasklet);

	trip->fn(trip->data);
	complete(&trip->done);
}

static void trip_hard(struct poke *poke)
{
	struct trip *trip = container_of(poke, struct trip, poke);

	if (trip->soft) {
		tasklet_hi_schedule(&trip->tasklet);
		return;
	}
	trip->fn(trip->data);
	complete(&trip->done);
}

static void interrupt(unsigned int cpu, bool soft, coop_test_fn fn, void *data)
{
	struct trip trip = { .soft = soft, .fn = fn, .data = data };

	poke_init(&trip.poke, trip_hard);
	tasklet_setup(&trip.tasklet, trip_soft);
	init_completion(&trip.done);
	poke_send(&trip.poke, cpu);
	wait_for_completion(&trip.done);
	irq_work_sync(&trip.poke.self);
	tasklet_kill(&trip.tasklet);
}

static DEFINE_SPINLOCK(a_lock);
static DEFINE_RAW_SPINLOCK(a_raw_lock);

/**
 * coop_test_run_in - run a function in some context, and wait until it has run
 * @where: which
 * @cpu: for interrupts, the CPU to interrupt
 * @fn: the function
 * @data: its argument
 */
void coop_test_run_in(enum coop_test_context where, unsigned int cpu,
		      coop_test_fn fn, void *data)
{
	switch (where) {
	case COOP_TEST_TASK:
		fn(data);
		break;
	case COOP_TEST_SPINLOCK:
		spin_lock(&a_lock);
		fn(data);
		spin_unlock(&a_lock);
		break;
	case COOP_TEST_RAW_SPINLOCK:
		raw_spin_lock(&a_raw_lock);
		fn(data);
		raw_spin_unlock(&a_raw_lock);
		break;
	case COOP_TEST_BH_OFF:
		local_bh_disable();
		fn(data);
		local_bh_enable();
		break;
	case COOP_TEST_PREEMPT_OFF:
		preempt_disable();
		fn(data);
		preempt_enable();
		break;
	case COOP_TEST_IRQ_OFF:
		local_irq_disable();
		fn(data);
		local_irq_enable();
		break;
	case COOP_TEST_RCU:
		rcu_read_lock();
		fn(data);
		rcu_read_unlock();
		break;
	case COOP_TEST_SOFTIRQ:
		interrupt(cpu, true, fn, data);
		break;
	case COOP_TEST_HARDIRQ:
		interrupt(cpu, false, fn, data);
		break;
	}
}

/* A thread, bound to a CPU (or not: UINT_MAX), that SIGKILL reaches. */
struct task_struct *coop_test_thread(int (*fn)(void *), void *data,
				     unsigned int cpu)
{
	struct task_struct *task = kthread_create(fn, data, "coop_test");

	if (IS_ERR(task))
		return task;
	if (cpu != UINT_MAX)
		kthread_bind(task, cpu);
	get_task_struct(task);
	wake_up_process(task);
	return task;
}

void coop_test_allow_kill(void)
{
	allow_signal(SIGKILL);
}

void coop_test_kill(struct task_struct *task)
{
	send_sig(SIGKILL, task, 1);
}

/* Stops a thread of coop_test_thread(), and waits until it has ended. */
void coop_test_thread_end(struct task_struct *task)
{
	kthread_stop(task);
	put_task_struct(task);
}

bool coop_test_should_stop(void)
{
	return kthread_should_stop() || fatal_signal_pending(current);
}

/*
 * Whether the thread sleeps in a wait that only its end, or a kill, ends. One
 * that is only about to, and may find that it need not, is still queued.
 */
bool coop_test_sleeps(struct task_struct *task)
{
	return READ_ONCE(task->__state) &
		       (TASK_UNINTERRUPTIBLE | TASK_INTERRUPTIBLE) &&
	       (!READ_ONCE(task->on_rq) || READ_ONCE(task->se.sched_delayed));
}

/* Whether the thread is gone, though it may not have returned from its function. */
bool coop_test_is_dead(struct task_struct *task)
{
	return READ_ONCE(task->exit_state);
}

int coop_test_move_to(unsigned int cpu)
{
	return set_cpus_allowed_ptr(current, cpumask_of(cpu));
}

/* Wherever the process that runs the tests was allowed to run, it is again. */
int coop_test_move_anywhere(void)
{
	return set_cpus_allowed_ptr(current, cpu_possible_mask);
}

unsigned int coop_test_cpu(void)
{
	return raw_smp_processor_id();
}

unsigned int coop_test_cpus(void)
{
	return num_online_cpus();
}

bool coop_test_may_migrate(void)
{
	return current->nr_cpus_allowed > 1;
}

void coop_test_cond_resched(void)
{
	cond_resched();
}

void coop_test_busy(unsigned int us)
{
	while (us--) {
		udelay(1);
		/* Here it can be preempted on user-mode Linux, too, where interrupts do not do that. */
		preempt_disable();
		preempt_enable();
	}
}

/* --- An interrupt line without a device --- */

static unsigned int test_irq;
static struct raise {
	struct poke poke;
	atomic_t on_its_way;
} raises[NR_CPUS];

static void deliver(struct poke *poke)
{
	struct raise *raise = container_of(poke, struct raise, poke);

	/* From here on the next one can be sent; it cannot come before we end. */
	atomic_set_release(&raise->on_its_way, 0);
	generic_handle_irq(test_irq);
}

static void nothing(struct irq_data *data)
{
}

/* Edges: one that comes while the handler runs on another CPU is not lost. */
static struct irq_chip test_chip = {
	.name = "coop_test",
	.irq_ack = nothing,
	.irq_mask = nothing,
	.irq_unmask = nothing,
};

/* Returns its number, or a negative errno; there is one line. */
int coop_test_irq_create(void)
{
	int cpu, irq = irq_alloc_desc(NUMA_NO_NODE);

	if (irq < 0)
		return irq;
	irq_set_chip_and_handler(irq, &test_chip, handle_edge_irq);
	for_each_possible_cpu(cpu)
		poke_init(&raises[cpu].poke, deliver);
	test_irq = irq;
	return irq;
}

/* Interrupts a CPU with it; false if the last time is still on its way. */
bool coop_test_irq_raise(unsigned int cpu)
{
	if (atomic_cmpxchg(&raises[cpu].on_its_way, 0, 1))
		return false;
	poke_send(&raises[cpu].poke, cpu);
	return true;
}

/* Waits until nothing is on its way any more. */
void coop_test_irq_sync(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		while (atomic_read_acquire(&raises[cpu].on_its_way))
			cond_resched();
	/* And those that are on, too: each CPU has come round to something else. */
	synchronize_rcu_expedited();
}

/* After its handler has been freed. */
void coop_test_irq_destroy(void)
{
	coop_test_irq_sync();
	irq_free_desc(test_irq);
}

unsigned int coop_test_available_kib(void)
{
	return si_mem_available() << (PAGE_SHIFT - 10);
}

#ifndef COOP_CYCLE
/* Where coop_cycle.ko finds the domain of this module that it lodges in. */
void *coop_test_lodge;
EXPORT_SYMBOL_GPL(coop_test_lodge);

void coop_test_set_lodge(void *lodge)
{
	coop_test_lodge = lodge;
}
#endif
