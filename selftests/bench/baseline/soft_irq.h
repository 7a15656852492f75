/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _COOP_SOFT_IRQ_H
#define _COOP_SOFT_IRQ_H

/*
 * An interrupt line without a device: raised by software, delivered in hard
 * IRQ context on the CPU that raises it. coop_bench.ko uses it too, so that
 * both sides of a comparison take the same way in.
 */
int coop_soft_irq_create(unsigned int cpu);
void coop_soft_irq_raise(void);
void coop_soft_irq_destroy(void);

#endif /* _COOP_SOFT_IRQ_H */
