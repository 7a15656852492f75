// SPDX-License-Identifier: GPL-2.0
/*
 * Baselines without a context switch: uncontended locks, queues, allocation.
 */
#include <linux/kfifo.h>
#include <linux/mutex.h>
#include <linux/ptr_ring.h>
#include <linux/rtmutex.h>
#include <linux/semaphore.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "baseline.h"

static DEFINE_MUTEX(a_mutex);
static DEFINE_RT_MUTEX(an_rt_mutex);
static DEFINE_SEMAPHORE(a_semaphore, 2);
static DEFINE_SPINLOCK(a_spinlock);

/* One op: mutex_lock and mutex_unlock, uncontended. */
int run_mutex(struct sample *s, unsigned int ops)
{
	s->ns = timed_loop(ops, ({
		mutex_lock(&a_mutex);
		mutex_unlock(&a_mutex);
	}));
	return 0;
}

/* One op: down and up of a semaphore that has permits. */
int run_semaphore(struct sample *s, unsigned int ops)
{
	s->ns = timed_loop(ops, ({
		down(&a_semaphore);
		up(&a_semaphore);
	}));
	return 0;
}

/* One op: rt_mutex_lock and rt_mutex_unlock, uncontended. */
int run_rt_mutex(struct sample *s, unsigned int ops)
{
	s->ns = timed_loop(ops, ({
		rt_mutex_lock(&an_rt_mutex);
		rt_mutex_unlock(&an_rt_mutex);
	}));
	return 0;
}

/* One op: spin_lock_irqsave and spin_unlock_irqrestore, uncontended. */
int run_spin_irqsave(struct sample *s, unsigned int ops)
{
	unsigned long flags;

	s->ns = timed_loop(ops, ({
		spin_lock_irqsave(&a_spinlock, flags);
		spin_unlock_irqrestore(&a_spinlock, flags);
	}));
	return 0;
}

/* One op: spin_lock_bh and spin_unlock_bh, uncontended. */
int run_spin_bh(struct sample *s, unsigned int ops)
{
	s->ns = timed_loop(ops, ({
		spin_lock_bh(&a_spinlock);
		spin_unlock_bh(&a_spinlock);
	}));
	return 0;
}

/*
 * One op: put a u64 into an empty kfifo of 64 and get it out again. Allocated at
 * run time, as the ring of msgq.rs is. Putting and getting happen in different
 * functions of a driver: nothing is carried over in registers.
 */
int run_kfifo(struct sample *s, unsigned int ops)
{
	DECLARE_KFIFO_PTR(fifo, u64);
	u64 out = 0;
	unsigned int got = 0;
	int ret;

	ret = kfifo_alloc(&fifo, 64, GFP_KERNEL);
	if (ret)
		return ret;
	s->ns = timed_loop(ops, ({
		kfifo_put(&fifo, 1);
		barrier();
		got = kfifo_get(&fifo, &out);
		use_value(out);
	}));
	kfifo_free(&fifo);
	return got ? 0 : -EIO;
}

/* The same with size and address known to the compiler. */
int run_kfifo_static(struct sample *s, unsigned int ops)
{
	static DEFINE_KFIFO(fifo, u64, 64);
	u64 out = 0;
	unsigned int got = 0;

	s->ns = timed_loop(ops, ({
		kfifo_put(&fifo, 1);
		barrier();
		got = kfifo_get(&fifo, &out);
		use_value(out);
	}));
	return got ? 0 : -EIO;
}

/*
 * One op: produce a pointer into an empty ptr_ring and consume it, without the
 * locks that a single producer and a single consumer do not need.
 */
int run_ptr_ring(struct sample *s, unsigned int ops)
{
	struct ptr_ring ring;
	void *got = NULL;
	int ret;

	ret = ptr_ring_init(&ring, 64, GFP_KERNEL);
	if (ret)
		return ret;
	s->ns = timed_loop(ops, ({
		__ptr_ring_produce(&ring, s);
		barrier();
		got = __ptr_ring_consume(&ring);
		use_value(got);
	}));
	ptr_ring_cleanup(&ring, NULL);
	return got ? 0 : -EIO;
}

/* One op: kmalloc of 128 bytes and kfree. */
int run_kmalloc_kfree(struct sample *s, unsigned int ops)
{
	void *p = NULL;

	s->ns = timed_loop(ops, ({
		p = kmalloc(128, GFP_KERNEL);
		use_value(p);
		kfree(p);
	}));
	return p ? 0 : -ENOMEM;
}

/*
 * One op: what plugin/locked.c has to tell apart, its number known. Three locked
 * read-modify-writes, two full barriers, and several that look like them.
 */
int run_check_counts(struct sample *s, unsigned int ops)
{
	u64 word = 0, other = 0, old = 0;

	s->ns = timed_loop(ops, ({
#ifdef CONFIG_X86_64
		asm volatile("lock incl %0\n\t"
			     "lock cmpxchgq %1, %0\n\t"
			     "xchgq %1, %0\n\t"
			     "mfence\n\t"
			     "lock addl $0, -4(%%rsp)\n\t"
			     "addl $0, -4(%%rsp)\n\t"
			     "xaddq %1, %0\n\t"
			     "xchgl %k1, %k1\n\t"
			     "lfence\n\t"
			     "sfence\n\t"
			     "movl $0xf0f0f0f0, %k1\n\t"
			     : "+m" (word), "+r" (other), "+a" (old)
			     : : "memory", "cc");
#endif
	}));
	return 0;
}
