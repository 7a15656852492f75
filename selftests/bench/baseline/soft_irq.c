// SPDX-License-Identifier: GPL-2.0
/*
 * An interrupt line without a device.
 *
 * The kernel's irq_sim would do, but not every flavour builds it, and its
 * threads cannot be bound to a CPU. Raising is an irq_work: the CPU interrupts
 * itself, and the line's flow handler runs in hard IRQ context as it would for
 * a device's vector.
 */
#include <linux/cpumask.h>
#include <linux/export.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irq_work.h>
#include <linux/irqdesc.h>

#include "soft_irq.h"

static int soft_irq = -1;

static void deliver(struct irq_work *work)
{
	generic_handle_irq(soft_irq);
}

static struct irq_work raise_work = IRQ_WORK_INIT_HARD(deliver);

/* Without it, the interrupt's thread could not be bound. */
static int set_affinity(struct irq_data *d, const struct cpumask *mask,
			bool force)
{
	irq_data_update_effective_affinity(d, mask);
	return IRQ_SET_MASK_OK;
}

static struct irq_chip soft_chip = {
	.name = "coop_soft",
	.irq_set_affinity = set_affinity,
};

/**
 * coop_soft_irq_create - make the line; there is only one
 * @cpu: where a thread of its handler is to run
 *
 * Return: its number, or a negative errno.
 */
int coop_soft_irq_create(unsigned int cpu)
{
	int irq, ret;

	if (soft_irq >= 0)
		return -EBUSY;
	/* Else it would come with the next tick. */
	if (!arch_irq_work_has_interrupt())
		return -EOPNOTSUPP;
	irq = irq_alloc_desc(NUMA_NO_NODE);
	if (irq < 0)
		return irq;
	irq_set_chip_and_handler(irq, &soft_chip, handle_simple_irq);
	ret = irq_set_affinity(irq, cpumask_of(cpu));
	if (ret) {
		irq_free_desc(irq);
		return ret;
	}
	soft_irq = irq;
	return irq;
}
EXPORT_SYMBOL_GPL(coop_soft_irq_create);

/**
 * coop_soft_irq_raise - interrupt this CPU with the line
 */
void coop_soft_irq_raise(void)
{
	irq_work_queue(&raise_work);
}
EXPORT_SYMBOL_GPL(coop_soft_irq_raise);

/**
 * coop_soft_irq_destroy - after the handler has been freed
 */
void coop_soft_irq_destroy(void)
{
	irq_work_sync(&raise_work);
	if (soft_irq >= 0)
		irq_free_desc(soft_irq);
	soft_irq = -1;
}
EXPORT_SYMBOL_GPL(coop_soft_irq_destroy);
