// SPDX-License-Identifier: GPL-2.0
/*
 * Baseline of a bottom half in a thread: request_threaded_irq().
 */
#include <linux/completion.h>
#include <linux/interrupt.h>

#include "baseline.h"
#include "soft_irq.h"

struct line {
	u64 arrived;
	struct completion ran;
};

static irqreturn_t top_half(int irq, void *data)
{
	return IRQ_WAKE_THREAD;
}

static irqreturn_t bottom_half(int irq, void *data)
{
	struct line *line = data;

	line->arrived = stop_clock();
	complete(&line->ran);
	return IRQ_HANDLED;
}

/*
 * One op: from just before the interrupt is raised to the first statement of
 * its thread, on one CPU. The kernel makes the thread a FIFO thread; the one
 * that raises is a normal thread, and is preempted.
 */
int run_threaded_irq(struct sample *s, unsigned int ops)
{
	struct line line = { };
	unsigned int i;
	int irq, ret;

	irq = coop_soft_irq_create(coop_bench_cpu());
	if (irq < 0)
		return irq;
	init_completion(&line.ran);
	ret = request_threaded_irq(irq, top_half, bottom_half, 0, "coop_base",
				   &line);
	if (!ret) {
		for (i = 0; i < WARM_UP + ops; i++) {
			u64 start = start_clock();

			coop_soft_irq_raise();
			wait_for_completion(&line.ran);
			if (i >= WARM_UP)
				s->ns += line.arrived - start;
		}
		free_irq(irq, &line);
	}
	coop_soft_irq_destroy();
	return ret;
}
