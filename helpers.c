// SPDX-License-Identifier: GPL-2.0
/*
 * What Rust cannot call: inline functions and macros of the kernel's C headers.
 * Each is a few instructions; sys/ wraps them in safe types. Exported, because the
 * compiler inlines those types' functions into the drivers' crates.
 */
#include <linux/cpumask.h>
#include <linux/hardirq.h>
#include <linux/kdebug.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/rtmutex.h>
#include <linux/sched.h>
#include <linux/sched/rt.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/sched/task.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/timex.h>
#include <linux/workqueue.h>
#include <uapi/linux/sched/types.h>

#include "helpers.h"

/* sys/percpu.rs looks at the preemption counter itself. */
#if defined(CONFIG_X86_64) && defined(CONFIG_SMP) && !defined(CONFIG_PREEMPT_RT) && !defined(CONFIG_UML)
static_assert((u32)NMI_MASK == 0xf0000000);
static_assert((u32)HARDIRQ_MASK == 0x0f000000);
static_assert((u32)SOFTIRQ_OFFSET == 0x00000100);
static_assert((u32)SOFTIRQ_MASK == 0x0000ff00);
static_assert((u32)PREEMPT_MASK == 0x000000ff);
static_assert((u64)PREEMPT_NEED_RESCHED == 1ull << 63);
static_assert((u32)X86_EFLAGS_IF == 1 << 9);
static_assert(sizeof(__preempt_count) == 8);
#endif

/* The current thread, or NULL in a softirq, hard interrupt or NMI. */
struct task_struct *coop_current_task(void)
{
	return in_task() ? current : NULL;
}
EXPORT_SYMBOL_GPL(coop_current_task);

/* See bh_runner() in sys/percpu.rs. */
struct task_struct *coop_bh_runner(void)
{
	if (in_nmi() || in_hardirq() || !(in_softirq() || irqs_disabled()))
		return NULL;
	return (void *)current + !!in_serving_softirq();
}
EXPORT_SYMBOL_GPL(coop_bh_runner);

/*
 * See sender_place() in sys/percpu.rs. On PREEMPT_RT a spinlock is an RCU read-side
 * section, and switching bottom halves off is another; a runner is in one more.
 */
unsigned int coop_sender_place(void)
{
	bool off = in_softirq(), idle = in_serving_softirq() && is_idle_task(current);

	/* An idle thread has preemption off. */
	if (in_nmi() || in_hardirq() || irqs_disabled() || (preempt_count() & PREEMPT_MASK) > idle)
		return COOP_PLACE_ELSEWHERE;
	if (IS_ENABLED(CONFIG_PREEMPT_RT) && rcu_preempt_depth() > off)
		return COOP_PLACE_ELSEWHERE;
	if (!in_serving_softirq() && !hlist_empty(&current->preempt_notifiers))
		return COOP_PLACE_ELSEWHERE;
	return off ? COOP_PLACE_BH_OFF : COOP_PLACE_BH_ON;
}
EXPORT_SYMBOL_GPL(coop_sender_place);

bool coop_irqs_disabled(void)
{
	return irqs_disabled();
}
EXPORT_SYMBOL_GPL(coop_irqs_disabled);

void coop_bh_begin(void)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		rcu_read_lock();
	else
		preempt_disable();
}
EXPORT_SYMBOL_GPL(coop_bh_begin);

void coop_bh_end(void)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		rcu_read_unlock();
	else
		preempt_enable();
}
EXPORT_SYMBOL_GPL(coop_bh_end);

void coop_bh_disable(void)
{
	local_bh_disable();
}
EXPORT_SYMBOL_GPL(coop_bh_disable);

void coop_bh_enable(void)
{
	local_bh_enable();
}
EXPORT_SYMBOL_GPL(coop_bh_enable);

/* Only a thread with no lock held, nothing disabled, may sleep. */
unsigned int coop_context(void)
{
	if (in_nmi())
		return COOP_CONTEXT_NMI;
	if (in_hardirq())
		return COOP_CONTEXT_HARDIRQ;
	if (in_serving_softirq())
		return COOP_CONTEXT_SOFTIRQ;
	if (!preemptible() || rcu_preempt_depth())
		return COOP_CONTEXT_ATOMIC;
	return COOP_CONTEXT_TASK;
}
EXPORT_SYMBOL_GPL(coop_context);

/*
 * Begin a push: nobody else pushes from this CPU and kind of context until
 * coop_sender_exit(). Preemption is off even in a softirq, because softirqs are
 * preemptible threads on PREEMPT_RT; a hard interrupt has rings of its own.
 * An RCU read-side section, too: synchronize_rcu() waits for it.
 *
 * Returns 3 * cpu + kind of context, or UINT_MAX in an NMI (nothing begun).
 */
unsigned int coop_sender_enter(void)
{
	unsigned int kind;

	if (in_nmi())
		return UINT_MAX;
	preempt_disable();
	kind = in_hardirq() ? 2 : in_serving_softirq() ? 1 : 0;
	return 3 * smp_processor_id() + kind;
}
EXPORT_SYMBOL_GPL(coop_sender_enter);

void coop_sender_exit(void)
{
	preempt_enable();
}
EXPORT_SYMBOL_GPL(coop_sender_exit);

/* Preemption is due: what preempt_enable() would have done. */
void coop_preempt(void)
{
	preempt_disable();
	preempt_enable();
}
EXPORT_SYMBOL_GPL(coop_preempt);

unsigned int coop_nr_cpu_ids(void)
{
	return nr_cpu_ids;
}
EXPORT_SYMBOL_GPL(coop_nr_cpu_ids);

unsigned int coop_nr_cpus_online(void)
{
	return num_online_cpus();
}
EXPORT_SYMBOL_GPL(coop_nr_cpus_online);

/* Full barrier after the store, as set_current_state() documents. */
void coop_set_state(unsigned int state)
{
	set_current_state(state);
}
EXPORT_SYMBOL_GPL(coop_set_state);

bool coop_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}
EXPORT_SYMBOL_GPL(coop_fatal_signal_pending);

/* Lazily, too: then a thread is asked to give way, and made to at the next tick only. */
bool coop_need_resched(void)
{
	return need_resched() || test_thread_flag(TIF_NEED_RESCHED_LAZY);
}
EXPORT_SYMBOL_GPL(coop_need_resched);

/*
 * Also a quiescent state for tasks RCU, which a busy kthread owes. cond_resched() does
 * nothing on a preemptible kernel, and would let a lazy request stand.
 */
void coop_cond_resched(void)
{
	cond_resched_tasks_rcu_qs();
	if (coop_need_resched())
		schedule();
}
EXPORT_SYMBOL_GPL(coop_cond_resched);

/* Cheap and only ever compared with itself; 0 where the CPU has no counter. */
u64 coop_cycles(void)
{
	return get_cycles();
}
EXPORT_SYMBOL_GPL(coop_cycles);

void coop_get_task(struct task_struct *task)
{
	get_task_struct(task);
}
EXPORT_SYMBOL_GPL(coop_get_task);

void coop_put_task(struct task_struct *task)
{
	put_task_struct(task);
}
EXPORT_SYMBOL_GPL(coop_put_task);

struct task_struct *coop_kthread_create(int (*fn)(void *), void *data,
					const char *name)
{
	return kthread_create(fn, data, "coop/%s", name);
}
EXPORT_SYMBOL_GPL(coop_kthread_create);

/* Before the first wake-up, which undoes anything weaker than kthread_bind(). */
int coop_set_cpu(struct task_struct *task, unsigned int cpu)
{
	if (cpu >= nr_cpu_ids || !cpu_online(cpu))
		return -EINVAL;
	kthread_bind(task, cpu);
	return 0;
}
EXPORT_SYMBOL_GPL(coop_set_cpu);

/*
 * So much CPU time in each period, and no more: the constant bandwidth server of the
 * deadline class. Nanoseconds.
 */
int coop_set_share(struct task_struct *task, u64 budget, u64 period)
{
	struct sched_attr attr = {
		.size = sizeof(attr),
		.sched_policy = SCHED_DEADLINE,
		.sched_runtime = budget,
		.sched_deadline = period,
		.sched_period = period,
	};

	return sched_setattr_nocheck(task, &attr);
}
EXPORT_SYMBOL_GPL(coop_set_share);

struct workqueue_struct *coop_workqueue_create(const char *name)
{
	return alloc_workqueue("%s", WQ_UNBOUND, 0, name);
}
EXPORT_SYMBOL_GPL(coop_workqueue_create);

bool coop_within_module(const void *addr, const struct module *mod)
{
	return within_module((unsigned long)addr, mod);
}
EXPORT_SYMBOL_GPL(coop_within_module);

/* A lock class for each: lockdep sees domains that wait for each other in a circle. */
void coop_baton_init(struct rt_mutex *lock, const char *name, struct lock_class_key *key)
{
	lockdep_register_key(key);
	__rt_mutex_init(lock, name, key);
}
EXPORT_SYMBOL_GPL(coop_baton_init);

void coop_baton_destroy(struct lock_class_key *key)
{
	lockdep_unregister_key(key);
}
EXPORT_SYMBOL_GPL(coop_baton_destroy);

#ifdef CONFIG_PROVE_LOCKING
void coop_baton_will_lock(struct rt_mutex *lock)
{
	might_lock(lock);
}
EXPORT_SYMBOL_GPL(coop_baton_will_lock);
#endif

void coop_baton_lock(struct rt_mutex *lock)
{
	rt_mutex_lock(lock);
}
EXPORT_SYMBOL_GPL(coop_baton_lock);

int coop_baton_lock_killable(struct rt_mutex *lock)
{
	return rt_mutex_lock_killable(lock);
}
EXPORT_SYMBOL_GPL(coop_baton_lock_killable);

/* As mutex_spin_on_owner() decides whether to go on spinning. */
bool coop_owner_on_cpu(struct task_struct **word, struct task_struct *owner)
{
	bool spin;

	rcu_read_lock();
	/* While the word says so, the thread is there; after that, RCU keeps it. */
	if (!owner || ((unsigned long)READ_ONCE(*word) & ~1ul) != (unsigned long)owner)
		spin = !need_resched();
	else
		spin = owner_on_cpu(owner) && !need_resched();
	rcu_read_unlock();
	return spin;
}
EXPORT_SYMBOL_GPL(coop_owner_on_cpu);

/* Whether the current thread may go on polling: nobody else wants its CPU. */
bool coop_alone_on_cpu(void)
{
	return !need_resched() && single_task_running();
}
EXPORT_SYMBOL_GPL(coop_alone_on_cpu);

/*
 * Have @task, which was just woken, run on this CPU if it waits for it, while we stay
 * runnable; false if it does not, or if yield() would not let it. The caller has found
 * itself alone on the CPU: otherwise yield() costs it its share.
 */
bool coop_yield_to(struct task_struct *task)
{
	/* Real-time threads yield to their equals only; SCHED_BATCH and _IDLE have time. */
	if (task_cpu(task) != raw_smp_processor_id() || !task_is_running(task) ||
	    current->policy != SCHED_NORMAL || rt_or_dl_task(current))
		return false;
	yield();
	return true;
}
EXPORT_SYMBOL_GPL(coop_yield_to);

/* One lock class for all: they do not nest. */
void coop_raw_lock_init(raw_spinlock_t *lock)
{
	raw_spin_lock_init(lock);
}
EXPORT_SYMBOL_GPL(coop_raw_lock_init);

unsigned long coop_raw_lock(raw_spinlock_t *lock)
{
	unsigned long flags;

	raw_spin_lock_irqsave(lock, flags);
	return flags;
}
EXPORT_SYMBOL_GPL(coop_raw_lock);

void coop_raw_unlock(raw_spinlock_t *lock, unsigned long flags)
{
	raw_spin_unlock_irqrestore(lock, flags);
}
EXPORT_SYMBOL_GPL(coop_raw_unlock);

/*
 * The current thread dies. If it runs a Bh domain and holds nothing else, bottom halves
 * are off for that alone: on again, or the kernel would take the machine down. Those that
 * are pending run at the next interrupt. Not on PREEMPT_RT, where this is a lock.
 *
 * Nothing else: preemption is off once for the runner, and once by oops_enter().
 */
static void coop_bh_runner_dies_alone(void)
{
#ifndef CONFIG_PREEMPT_RT
	if (softirq_count() == SOFTIRQ_DISABLE_OFFSET &&
	    (preempt_count() & PREEMPT_MASK) <= 2 * PREEMPT_OFFSET &&
	    coop_bh_runner_dies(current))
		_local_bh_enable();
#endif
}

/* Called while the CPU is busy: a timer that wakes nobody. */
void coop_tick_init(struct timer_list *timer, void (*fn)(struct timer_list *))
{
	timer_setup(timer, fn, TIMER_DEFERRABLE | TIMER_PINNED);
}
EXPORT_SYMBOL_GPL(coop_tick_init);

/* At the next tick of the CPU that @task is on. @timer is not pending. */
void coop_tick_start(struct timer_list *timer, struct task_struct *task)
{
	unsigned int cpu;

	/* A CPU that is online stays so, or takes the timer along: it waits for us to go off. */
	preempt_disable();
	cpu = task_cpu(task);
	/* Where it ran last. */
	if (!cpu_online(cpu))
		cpu = smp_processor_id();
	timer->expires = jiffies + 1;
	add_timer_on(timer, cpu);
	preempt_enable();
}
EXPORT_SYMBOL_GPL(coop_tick_start);

void coop_tick_stop(struct timer_list *timer)
{
	timer_shutdown_sync(timer);
}
EXPORT_SYMBOL_GPL(coop_tick_stop);

static int coop_die(struct notifier_block *nb, unsigned long event, void *args)
{
	/* What dies in an interrupt takes the machine down. */
	if (event == DIE_OOPS && in_task()) {
		coop_runner_dies(current);
		coop_bh_runner_dies_alone();
	}
	return NOTIFY_DONE;
}

static struct notifier_block coop_die_block = { .notifier_call = coop_die };

int coop_die_register(void)
{
	return register_die_notifier(&coop_die_block);
}

void coop_die_unregister(void)
{
	unregister_die_notifier(&coop_die_block);
}
