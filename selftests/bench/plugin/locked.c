// SPDX-License-Identifier: GPL-2.0
/*
 * locked - a QEMU plugin that counts the locked instructions and the full
 * barriers which the guest executes while it measures
 *
 *	qemu-system-x86_64 -plugin file=locked.so,out=FILE ...
 *
 * What is measured lies between two marks: no-operations with displacements
 * that nobody else uses (../baseline/harness.h, ../runtime/harness.rs). Every
 * instruction is looked at once, when QEMU translates it; those that count are
 * then reported each time they execute. All virtual CPUs count, as they do for
 * the clock of `-icount`, which it needs: all of them are one thread then. (And
 * then QEMU 10.0 generates wrong code for counters of its own, the "inline"
 * operations of a plugin, on all CPUs but the first.)
 *
 * FILE has a line `figure` for each figure, and after it a line of three
 * numbers for each measured stretch: locked read-modify-writes, full barriers
 * (which are not among the former, although on x86 each of those is one, too),
 * instructions. The last are exact to a few, since QEMU counts them by blocks.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/*
 * QEMU's interface for plugins, as far as it is used here: Debian does not
 * package its header. QEMU checks the version, and so would refuse.
 */
struct qemu_plugin_tb;
struct qemu_plugin_insn;

enum { NO_REGS = 0 };

typedef void (*translated_fn)(uint64_t id, struct qemu_plugin_tb *tb);
typedef void (*executed_fn)(unsigned int cpu, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated_fn f);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *
qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to,
			     size_t len);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    executed_fn f, int flags,
					    void *data);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
					  executed_fn f, int flags, void *data);

#define VISIBLE __attribute__((visibility("default")))

VISIBLE int qemu_plugin_version = 4;

enum what { LOCKED, BARRIERS, INSTRUCTIONS, COUNTERS };
enum mark { MARK_FIGURE = 1, MARK_END, MARK_START, MARK_STOP };

static const uint8_t mark_bytes[] = { 0x0f, 0x1f, 0x80 };
#define MARK_BASE 0x6f6f6300u

static uint64_t counters[COUNTERS], started[COUNTERS];
static bool in_figure, running;
static FILE *out;

static void on_block(unsigned int cpu, void *instructions)
{
	(void)cpu;
	counters[INSTRUCTIONS] += (uintptr_t)instructions;
}

static void on_executed(unsigned int cpu, void *what)
{
	(void)cpu;
	counters[(uintptr_t)what]++;
}

static void on_mark(unsigned int cpu, void *data)
{
	enum mark mark = (uintptr_t)data;
	int i;

	(void)cpu;
	if (mark == MARK_STOP && running && in_figure) {
		for (i = 0; i < COUNTERS; i++)
			fprintf(out, i ? " %llu" : "%llu",
				(unsigned long long)(counters[i] - started[i]));
		fputc('\n', out);
	}
	if (mark == MARK_FIGURE)
		fputs("figure\n", out);
	if (mark == MARK_FIGURE || mark == MARK_END)
		in_figure = mark == MARK_FIGURE;
	running = mark == MARK_START;
	memcpy(started, counters, sizeof(started));
}

static enum mark mark_of(const uint8_t *insn, size_t len)
{
	uint32_t displacement;

	if (len != sizeof(mark_bytes) + sizeof(displacement) ||
	    memcmp(insn, mark_bytes, sizeof(mark_bytes)))
		return 0;
	memcpy(&displacement, insn + sizeof(mark_bytes), sizeof(displacement));
	displacement -= MARK_BASE;
	return displacement <= MARK_STOP ? displacement : 0;
}

/*
 * The two forms of a full barrier: `mfence`, and the quicker idiom of the
 * kernel and of compilers, to add or to "or" a zero to a word of the stack.
 * Whatever else is locked, by its prefix or as an `xchg` with memory, is a
 * read-modify-write. COUNTERS: neither.
 */
static enum what classify(const uint8_t *insn, size_t len)
{
	bool lock = false, other_prefix = false;
	size_t i = 0;

	for (; i < len; i++) {
		if (insn[i] == 0xf0)
			lock = true;
		else if (insn[i] == 0x66 || insn[i] == 0xf2 || insn[i] == 0xf3)
			other_prefix = true;
		else if (insn[i] != 0x2e && insn[i] != 0x36 &&
			 insn[i] != 0x3e && insn[i] != 0x26 &&
			 insn[i] != 0x64 && insn[i] != 0x65)
			break;
	}
	if (i < len && (insn[i] & 0xf0) == 0x40)
		i++;
	/* What is left: opcode, ModRM, perhaps SIB and more. */
	insn += i;
	len -= i;
	if (len == 3 && !other_prefix && insn[0] == 0x0f && insn[1] == 0xae &&
	    insn[2] >= 0xf0 && insn[2] <= 0xf7)
		return BARRIERS;
	if (len >= 4 && lock && insn[0] == 0x83 && (insn[1] & 0x07) == 4 &&
	    (insn[2] & 0x07) == 4 && !insn[len - 1]) {
		/* Relative to the stack pointer; /0 adds, /1 "or"s. */
		unsigned int op = insn[1] >> 3 & 7;

		if (op <= 1)
			return BARRIERS;
	}
	if (lock)
		return LOCKED;
	if (len >= 2 && (insn[0] == 0x86 || insn[0] == 0x87) &&
	    insn[1] < 0xc0)
		return LOCKED;
	return COUNTERS;
}

static void on_translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb), i;

	(void)id;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, NO_REGS,
					     (void *)(uintptr_t)n);
	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint8_t bytes[16];
		size_t len = qemu_plugin_insn_data(insn, bytes, sizeof(bytes));
		enum mark mark = mark_of(bytes, len);
		enum what what = classify(bytes, len);

		if (mark)
			qemu_plugin_register_vcpu_insn_exec_cb(
				insn, on_mark, NO_REGS,
				(void *)(uintptr_t)mark);
		if (what != COUNTERS)
			qemu_plugin_register_vcpu_insn_exec_cb(
				insn, on_executed, NO_REGS,
				(void *)(uintptr_t)what);
	}
}

VISIBLE int qemu_plugin_install(uint64_t id, const void *info, int argc,
				char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4)) {
		fputs("locked: needs out=FILE\n", stderr);
		return -1;
	}
	out = fopen(argv[0] + 4, "w");
	if (!out) {
		perror(argv[0] + 4);
		return -1;
	}
	/* QEMU may be killed: whole lines are in the file then. */
	setvbuf(out, NULL, _IOLBF, 0);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
	return 0;
}
