/* SPDX-License-Identifier: GPL-2.0 */
/* The C side of sys/: see helpers.c. */
#ifndef COOP_HELPERS_H
#define COOP_HELPERS_H

#include <linux/types.h>

struct module;
struct task_struct;
struct workqueue_struct;

/* Keep in step with `enum Context` in sys/context.rs. */
#define COOP_CONTEXT_TASK	0
#define COOP_CONTEXT_ATOMIC	1
#define COOP_CONTEXT_SOFTIRQ	2
#define COOP_CONTEXT_HARDIRQ	3
#define COOP_CONTEXT_NMI	4

struct task_struct *coop_current_task(void);
unsigned int coop_context(void);
unsigned int coop_sender_enter(void);
void coop_sender_exit(void);
void coop_preempt(void);
unsigned int coop_nr_cpu_ids(void);
void coop_set_state(unsigned int state);
bool coop_fatal_signal_pending(void);
int coop_may_wait(int (*fn)(void *));
void coop_cond_resched(void);
u64 coop_cycles(void);
void coop_get_task(struct task_struct *task);
void coop_put_task(struct task_struct *task);
struct task_struct *coop_kthread_create(int (*fn)(void *), void *data,
					const char *name);
int coop_set_cpu(struct task_struct *task, unsigned int cpu);
struct workqueue_struct *coop_workqueue_create(const char *name);
bool coop_within_module(const void *addr, const struct module *mod);

#endif /* COOP_HELPERS_H */
