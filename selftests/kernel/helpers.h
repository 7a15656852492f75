/* SPDX-License-Identifier: GPL-2.0 */
/* The C side of sys.rs: see helpers.c. */
#ifndef COOP_TEST_HELPERS_H
#define COOP_TEST_HELPERS_H

#include <linux/types.h>

struct task_struct;

/* Keep in step with `enum Where` in sys.rs. */
enum coop_test_context {
	COOP_TEST_TASK,
	COOP_TEST_SPINLOCK,
	COOP_TEST_RAW_SPINLOCK,
	COOP_TEST_BH_OFF,
	COOP_TEST_PREEMPT_OFF,
	COOP_TEST_IRQ_OFF,
	COOP_TEST_RCU,
	COOP_TEST_SOFTIRQ,
	COOP_TEST_HARDIRQ,
};

typedef void (*coop_test_fn)(void *data);

void coop_test_run_in(enum coop_test_context where, unsigned int cpu,
		      coop_test_fn fn, void *data);
struct task_struct *coop_test_thread(int (*fn)(void *), void *data,
				     unsigned int cpu);
void coop_test_allow_kill(void);
void coop_test_kill(struct task_struct *task);
void coop_test_thread_end(struct task_struct *task);
bool coop_test_should_stop(void);
bool coop_test_sleeps(struct task_struct *task);
bool coop_test_is_dead(struct task_struct *task);
int coop_test_move_to(unsigned int cpu);
int coop_test_move_anywhere(void);
unsigned int coop_test_cpu(void);
unsigned int coop_test_cpus(void);
bool coop_test_may_migrate(void);
void coop_test_cond_resched(void);
void coop_test_busy(unsigned int us);
int coop_test_irq_create(void);
bool coop_test_irq_raise(unsigned int cpu);
void coop_test_irq_sync(void);
void coop_test_irq_destroy(void);
unsigned int coop_test_available_kib(void);

extern void *coop_test_lodge;
void coop_test_set_lodge(void *lodge);
/* Of coop_cycle.ko: what coop_test.ko has set, or NULL. */
void *coop_cycle_lodge(void);

#endif /* COOP_TEST_HELPERS_H */
