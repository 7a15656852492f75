/* SPDX-License-Identifier: GPL-2.0 */
/* The baselines: each function is one repetition; what an op is stands there. */
#ifndef _COOP_BASELINE_H
#define _COOP_BASELINE_H

#include "harness.h"

/* locks.c */
int run_mutex(struct sample *s, unsigned int ops);
int run_semaphore(struct sample *s, unsigned int ops);
int run_rt_mutex(struct sample *s, unsigned int ops);
int run_spin_irqsave(struct sample *s, unsigned int ops);
int run_spin_bh(struct sample *s, unsigned int ops);
int run_kfifo(struct sample *s, unsigned int ops);
int run_kfifo_static(struct sample *s, unsigned int ops);
int run_ptr_ring(struct sample *s, unsigned int ops);
int run_kmalloc_kfree(struct sample *s, unsigned int ops);
int run_check_counts(struct sample *s, unsigned int ops);

/* threads.c */
int run_schedule(struct sample *s, unsigned int ops);
int run_pingpong_same_cpu(struct sample *s, unsigned int ops);
int run_pingpong_cross_cpu(struct sample *s, unsigned int ops);
int run_wake_up_process_running(struct sample *s, unsigned int ops);
int run_wake_up_process(struct sample *s, unsigned int ops);
int run_kthread_create_stop(struct sample *s, unsigned int ops);

/* work.c */
int run_queue_work_busy(struct sample *s, unsigned int ops);
int run_workqueue(struct sample *s, unsigned int ops);
int run_ordered_workqueue(struct sample *s, unsigned int ops);
int run_kthread_worker_same_cpu(struct sample *s, unsigned int ops);
int run_kthread_worker_cross_cpu(struct sample *s, unsigned int ops);

/* callers.c */
int run_mutex_callers_1(struct sample *s, unsigned int ops);
int run_mutex_callers_2(struct sample *s, unsigned int ops);
int run_mutex_callers_4(struct sample *s, unsigned int ops);
int run_rt_mutex_callers_1(struct sample *s, unsigned int ops);
int run_rt_mutex_callers_2(struct sample *s, unsigned int ops);
int run_rt_mutex_callers_4(struct sample *s, unsigned int ops);

/* How long the figures of time sleep; as SLEEP in ../runtime/timer.rs. */
#define BENCH_SLEEP_NS	100000

/* timers.c */
int coop_bench_idle_start(void);
void coop_bench_idle_stop(void);
u64 coop_bench_idle_ns(void);
int run_hrtimer_kthread(struct sample *s, unsigned int ops);
int run_hrtimer_start_cancel(struct sample *s, unsigned int ops);
int run_hrtimer_start_cancel_among_1000(struct sample *s, unsigned int ops);

/* irq.c */
int run_threaded_irq(struct sample *s, unsigned int ops);

#endif /* _COOP_BASELINE_H */
