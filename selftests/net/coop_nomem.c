// SPDX-License-Identifier: GPL-2.0
/*
 * One function returns null as long as this module is there: there is no memory. For kernels
 * that are built without fault injection.
 */
#include <linux/kprobes.h>
#include <linux/linkage.h>
#include <linux/module.h>
#include <linux/objtool.h>

static char *function;
module_param(function, charp, 0);
MODULE_PARM_DESC(function, "its symbol");

void coop_nomem_return(void);

asm(
"	.pushsection .text, \"ax\"\n"
"	.type coop_nomem_return, @function\n"
"	.globl coop_nomem_return\n"
"coop_nomem_return:\n"
	ANNOTATE_NOENDBR "\n"
	ASM_RET "\n"
"	.size coop_nomem_return, . - coop_nomem_return\n"
"	.popsection\n"
);

/* It has just been called: the stack has nothing but where it returns to. */
static int coop_nomem_hit(struct kprobe *probe, struct pt_regs *regs)
{
	regs_set_return_value(regs, 0);
	instruction_pointer_set(regs, (unsigned long)coop_nomem_return);
	return 1;
}

/* With this the probe is never replaced by a jump, which would not let us go elsewhere. */
static void coop_nomem_step(struct kprobe *probe, struct pt_regs *regs, unsigned long flags) {}

static struct kprobe probe = {
	.pre_handler	= coop_nomem_hit,
	.post_handler	= coop_nomem_step,
};

static int __init coop_nomem_init(void)
{
	if (!function)
		return -EINVAL;
	probe.symbol_name = function;
	return register_kprobe(&probe);
}
module_init(coop_nomem_init);

static void __exit coop_nomem_exit(void)
{
	unregister_kprobe(&probe);
}
module_exit(coop_nomem_exit);

MODULE_AUTHOR("The coop-domain project");
MODULE_DESCRIPTION("A function that finds no memory");
MODULE_LICENSE("GPL");
