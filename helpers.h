/* SPDX-License-Identifier: GPL-2.0 */
/* The C side of sys/: see helpers.c. */
#ifndef COOP_HELPERS_H
#define COOP_HELPERS_H

#include <linux/spinlock_types.h>
#include <linux/types.h>

struct lock_class_key;
struct module;
struct rt_mutex;
struct task_struct;
struct timer_list;
struct workqueue_struct;

/* Keep in step with `enum Context` in sys/context.rs. */
#define COOP_CONTEXT_TASK	0
#define COOP_CONTEXT_ATOMIC	1
#define COOP_CONTEXT_SOFTIRQ	2
#define COOP_CONTEXT_HARDIRQ	3
#define COOP_CONTEXT_NMI	4

/* Keep in step with `enum Place` in sys/bh.rs. */
#define COOP_PLACE_BH_ON	0
#define COOP_PLACE_BH_OFF	1
#define COOP_PLACE_ELSEWHERE	2

struct task_struct *coop_current_task(void);
struct task_struct *coop_bh_runner(void);
unsigned int coop_sender_place(void);
bool coop_irqs_disabled(void);
void coop_bh_begin(void);
void coop_bh_end(void);
void coop_bh_disable(void);
void coop_bh_enable(void);
unsigned int coop_context(void);
unsigned int coop_sender_enter(void);
void coop_sender_exit(void);
void coop_preempt(void);
unsigned int coop_nr_cpu_ids(void);
unsigned int coop_nr_cpus_online(void);
void coop_set_state(unsigned int state);
bool coop_fatal_signal_pending(void);
void coop_cond_resched(void);
bool coop_need_resched(void);
u64 coop_cycles(void);
void coop_get_task(struct task_struct *task);
void coop_put_task(struct task_struct *task);
struct task_struct *coop_kthread_create(int (*fn)(void *), void *data,
					const char *name);
int coop_set_cpu(struct task_struct *task, unsigned int cpu);
int coop_set_share(struct task_struct *task, u64 budget, u64 period);
struct workqueue_struct *coop_workqueue_create(const char *name);
bool coop_within_module(const void *addr, const struct module *mod);
void coop_baton_init(struct rt_mutex *lock, const char *name, struct lock_class_key *key);
void coop_baton_destroy(struct lock_class_key *key);
void coop_baton_will_lock(struct rt_mutex *lock);
void coop_baton_lock(struct rt_mutex *lock);
int coop_baton_lock_killable(struct rt_mutex *lock);
bool coop_owner_on_cpu(struct task_struct **word, struct task_struct *owner);
bool coop_alone_on_cpu(void);
bool coop_yield_to(struct task_struct *task);
void coop_raw_lock_init(raw_spinlock_t *lock);
unsigned long coop_raw_lock(raw_spinlock_t *lock);
void coop_raw_unlock(raw_spinlock_t *lock, unsigned long flags);
bool coop_bh_runner_dies(struct task_struct *task);
void coop_tick_init(struct timer_list *timer, void (*fn)(struct timer_list *));
void coop_tick_start(struct timer_list *timer, struct task_struct *task);
void coop_tick_stop(struct timer_list *timer);
int coop_die_register(void);
void coop_die_unregister(void);

/* In sys/runner.rs. */
void coop_runner_dies(struct task_struct *task);

#endif /* COOP_HELPERS_H */
