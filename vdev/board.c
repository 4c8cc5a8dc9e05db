/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * Wiring and locks. Lock order: board.lock, then a timer queue's lock. Local APICs need none: each belongs to its
 * vCPU's pCPU, and others reach only its atomic words. What the devices want of the house above while the lock is held
 * is noted in board.later and done by leave() after the release.
 */
#include "vdev/board.h"

#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vdev/board_parts.h"

#define NOBODY BOARD_MAX_VCPUS          /* in place of the calling vCPU: a timer, the console */
#define LOW_RAM_END (3 * GIB)

#define COM1_BASE 0x3f8u
#define CF9_PORT  0xcf9u

static __attribute__((noinline)) void perform_others(struct board *b, const struct apic_effects *fx)
{
    for (uint64_t left = fx->init | fx->sipi | fx->nmi; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);

        if (fx->init & BIT(i))
            b->ops.init(b->ctx, i);
        if (fx->sipi & BIT(i))
            b->ops.sipi(b->ctx, i, fx->sipi_vector);
        if (fx->nmi & BIT(i))
            b->ops.nmi(b->ctx, i);
    }
}

static void perform(struct board *b, const struct apic_effects *fx, unsigned self)
{
    uint64_t kick = self < BOARD_MAX_VCPUS ? fx->kick & ~BIT(self) : fx->kick;

    for (; kick; kick &= kick - 1)
        b->ops.kick(b->ctx, (unsigned)__builtin_ctzll(kick));
    if (fx->init | fx->sipi | fx->nmi)
        perform_others(b, fx);
}

static void enter(struct board *b)
{
    spin_lock(&b->lock);
    b->next_timer = timer_next(&b->vcpu[0].queue);
}

static bool is_wanted(const struct board_later *later)
{
    return (later->fx.kick | later->fx.nmi | later->fx.init | later->fx.sipi) || later->timer || later->transmit ||
           later->power;
}

static __attribute__((noinline)) void leave_and_do(struct board *b, unsigned self)
{
    struct board_later later = b->later;

    b->later = (struct board_later){ .transmit = false };
    spin_unlock(&b->lock);

    if (later.timer)
        b->ops.kick(b->ctx, 0);
    if (later.transmit)
        b->ops.serial_out(b->ctx, later.byte);
    perform(b, &later.fx, self);
    if (later.power)
        b->ops.power(b->ctx, later.what);
}

/*
 * self: the vCPU that called; it looks at its interrupts when there is news of them, so it is not kicked. vCPU 0 is
 * kicked in any case when its queue now begins earlier.
 */
static void leave(struct board *b, unsigned self)
{
    if (timer_next(&b->vcpu[0].queue) < b->next_timer)
        b->later.timer = true;
    if (is_wanted(&b->later))
        leave_and_do(b, self);
    else
        spin_unlock(&b->lock);
}

/* The 8259s' INTR goes to LINT0 of every local APIC. */
static void pic_output(void *ctx, bool level)
{
    struct board *b = ctx;

    atomic_store(&b->intr, level);
    for (unsigned i = 0; i < b->config.vcpus; i++)
        lapic_touch(&b->vcpu[i].lapic);
    if (!level)
        return;
    for (unsigned i = 0; i < b->config.vcpus; i++) {
        enum lapic_edge edge = lapic_lint0_rises(&b->vcpu[i].lapic);

        if (edge == LAPIC_EDGE_POSTED || lapic_takes_extint(&b->vcpu[i].lapic))
            b->later.fx.kick |= BIT(i);
        if (edge == LAPIC_EDGE_NMI)
            b->later.fx.nmi |= BIT(i);
    }
}

static unsigned ioapic_deliver(void *ctx, const struct apic_message *m)
{
    struct board *b = ctx;

    return apic_send(&b->net, m, &b->later.fx);
}

/* A global system interrupt, with the PC's numbers for ISA devices but for the 8254 (IRQ 0), which is 2. */
static void set_gsi(void *ctx, unsigned gsi, bool level)
{
    struct board *b = ctx;

    ioapic_set_pin(&b->ioapic, gsi, level);
    pic_set_irq(&b->pic, gsi == 2 ? 0 : gsi, level);
}

static void com1_transmit(void *ctx, uint8_t byte)
{
    struct board *b = ctx;

    b->later.transmit = true;
    b->later.byte = byte;
}

static void power(struct board *b, enum board_power what)
{
    b->later.power = true;
    b->later.what = what;
}

static void reset_wanted(void *ctx)
{
    power(ctx, BOARD_RESET);
}

static void power_off_wanted(void *ctx)
{
    power(ctx, BOARD_POWER_OFF);
}

/* After a timer of vCPU 0's queue: its pCPU, where this runs, looks at the queue anyway. */
static void leave_timer(struct board *b)
{
    b->next_timer = 0;
    leave(b, NOBODY);
}

static void pit_fire(struct vtimer *timer, uint64_t now)
{
    struct board *b = container_of(timer, struct board, pit.timer);

    enter(b);
    pit_expire(&b->pit, now);
    leave_timer(b);
}

static void rtc_fire(struct vtimer *timer, uint64_t now)
{
    struct board *b = container_of(timer, struct board, rtc.timer);

    enter(b);
    rtc_expire(&b->rtc, now);
    leave_timer(b);
}

static void pm_fire(struct vtimer *timer, uint64_t now)
{
    struct board *b = container_of(timer, struct board, pm.timer);

    enter(b);
    acpi_pm_expire(&b->pm, now);
    leave_timer(b);
}

static __attribute__((noinline)) void any_ipi(struct board *b, unsigned from, uint64_t icr)
{
    struct apic_effects fx = { 0 };

    apic_net_ipi(&b->net, from, icr, &fx);
    perform(b, &fx, from);
}

static void lapic_ipi(void *ctx, unsigned from, uint64_t icr)
{
    struct board *b = ctx;
    int to = apic_net_plain(&b->net, from, icr);

    if (to == -EINVAL)
        any_ipi(b, from, icr);
    else if (to >= 0 && (unsigned)to != from)
        b->ops.kick(b->ctx, (unsigned)to);
}

static void lapic_eoi(void *ctx, uint8_t vector)
{
    struct board *b = ctx;

    enter(b);
    ioapic_eoi(&b->ioapic, vector);
    leave(b, NOBODY);
}

static void lapic_kick(void *ctx, unsigned vcpu)
{
    struct board *b = ctx;

    b->ops.kick(b->ctx, vcpu);
}

static const struct lapic_wires lapic_wires = { .ipi = lapic_ipi, .eoi = lapic_eoi, .kick = lapic_kick };

static void add_ranges(struct bus *bus, const struct bus_range *ranges, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (bus_add(bus, &ranges[i]))
            panic("board: no room for the device at 0x%llx", (unsigned long long)ranges[i].first);
}

/* The most used come first. */
static void map_devices(struct board *b)
{
    const struct bus_range ports[] = {
        { COM1_BASE, COM1_BASE + 7, 1, false, &b->com1, uart_read, uart_write, uart_peek },
        { BOARD_PM_BASE, BOARD_PM_BASE + ACPI_PM_SIZE - 1, 4, false, &b->pm, acpi_pm_read, acpi_pm_write,
          acpi_pm_peek },
        { 0x20, 0x21, 1, false, &b->pic, pic_read, pic_write, NULL },
        { 0xa0, 0xa1, 1, false, &b->pic, pic_read, pic_write, NULL },
        { 0x40, 0x43, 1, false, &b->pit, pit_read, pit_write, NULL },
        { 0x61, 0x61, 1, false, &b->pit, pit_port61_read, pit_port61_write, NULL },
        { 0x70, 0x71, 1, false, &b->rtc, rtc_read, rtc_write, NULL },
        { 0x60, 0x60, 1, false, &b->kbd, kbd_read, kbd_write, NULL },
        { 0x64, 0x64, 1, false, &b->kbd, kbd_read, kbd_write, NULL },
        { 0x92, 0x92, 1, false, &b->kbd, kbd_port92_read, kbd_port92_write, NULL },
        { 0x4d0, 0x4d1, 1, false, &b->pic, pic_elcr_read, pic_elcr_write, NULL },
        { CF9_PORT, CF9_PORT, 1, true, &b->kbd, kbd_cf9_read, kbd_cf9_write, NULL }, /* inside PCI's address register */
    };
    const struct bus_range memory[] = {
        { BOARD_IOAPIC_BASE, BOARD_IOAPIC_BASE + PAGE_SIZE - 1, 8, true, &b->ioapic, ioapic_read, ioapic_write,
          NULL },
    };

    add_ranges(&b->ports, ports, ARRAY_SIZE(ports));
    add_ranges(&b->memory, memory, ARRAY_SIZE(memory));
}

/* The local APICs' pages lie behind the rest. */
static size_t pages_offset(unsigned vcpus)
{
    return ALIGN_UP(sizeof(struct board) + vcpus * sizeof(struct board_vcpu), PAGE_SIZE);
}

size_t board_size(unsigned vcpus)
{
    return pages_offset(vcpus) + vcpus * PAGE_SIZE;
}

void *board_apic_page(struct board_vcpu *v)
{
    return (char *)v->board + pages_offset(v->board->config.vcpus) + v->lapic.id * PAGE_SIZE;
}

struct board_vcpu *board_vcpu(struct board *b, unsigned vcpu)
{
    return &b->vcpu[vcpu];
}

bool board_xapic_plain(struct board *b)
{
    for (unsigned i = 0; i < b->config.vcpus; i++)
        if (!lapic_is_plain(&b->vcpu[i].lapic))
            return false;
    return true;
}

static void init_vcpus(struct board *b)
{
    b->net.count = b->config.vcpus;
    for (unsigned i = 0; i < b->config.vcpus; i++) {
        struct board_vcpu *v = &b->vcpu[i];

        b->net.lapic[i] = &v->lapic;
        v->board = b;
        v->lapic.id = i;
        lapic_init(&v->lapic, i, board_apic_page(v), &b->clock, &v->queue, &lapic_wires, b);
    }
}

/* Interrupt controllers before what drives them. */
static void init_devices(struct board *b)
{
    struct timer_queue *q = &b->vcpu[0].queue;
    struct rtc_setup rtc = { b->ops.wallclock(b->ctx), b->config.memory, LOW_RAM_END };

    pic_init(&b->pic, pic_output, b);
    ioapic_init(&b->ioapic, (uint8_t)b->config.vcpus, ioapic_deliver, b);
    pit_init(&b->pit, &b->clock, q, (struct irq_line){ set_gsi, b, 2 }, pit_fire);
    rtc_init(&b->rtc, &b->clock, q, (struct irq_line){ set_gsi, b, 8 }, rtc_fire, &rtc);
    uart_init(&b->com1, (struct irq_line){ set_gsi, b, BOARD_GSI_SERIAL }, com1_transmit, b);
    kbd_init(&b->kbd, (struct irq_line){ set_gsi, b, 1 }, reset_wanted, b);
    acpi_pm_init(&b->pm, &b->clock, q, (struct irq_line){ set_gsi, b, BOARD_GSI_SCI }, pm_fire, power_off_wanted, b);
}

/*
 * b: board_size(config->vcpus) bytes, page-aligned for APICv; config->vcpus 1 to 64, config->tick_khz not 0; ops is
 * copied.
 */
void board_init(struct board *b, const struct board_config *config, const struct board_ops *ops, void *ctx)
{
    memset(b, 0, board_size(config->vcpus));
    b->config = *config;
    b->ops = *ops;
    b->ctx = ctx;
    b->clock = (struct vclock){ ops->now, ctx, config->tick_khz * 1000 };
    init_vcpus(b);
    map_devices(b);
    init_devices(b);
    b->later = (struct board_later){ .transmit = false };
}

void board_reset(struct board *b)
{
    spin_lock(&b->lock);
    for (unsigned i = 0; i < b->config.vcpus; i++)
        lapic_power_on(&b->vcpu[i].lapic);
    ioapic_reset(&b->ioapic);
    pic_reset(&b->pic);
    pit_reset(&b->pit);
    rtc_reset(&b->rtc);
    uart_reset(&b->com1);
    kbd_reset(&b->kbd);
    acpi_pm_reset(&b->pm);
    b->later = (struct board_later){ .transmit = false };
    spin_unlock(&b->lock);
}

/* Without the lock: the map of the ports does not change. */
static inline bool nobody_there(struct board *b, uint16_t port, unsigned size)
{
    if (bus_may_have(&b->ports, port, size))
        return false;
    b->ports.unowned++;
    return true;
}

static __attribute__((noinline)) uint32_t device_read(struct board_vcpu *v, uint16_t port, unsigned size)
{
    struct board *b = v->board;
    uint64_t value;

    if (bus_peek(&b->ports, port, size, &value))
        return (uint32_t)value;
    enter(b);
    value = bus_read(&b->ports, port, size);
    leave(b, v->lapic.id);
    return (uint32_t)value;
}

static __attribute__((noinline)) void device_write(struct board_vcpu *v, uint16_t port, unsigned size, uint32_t value)
{
    struct board *b = v->board;

    enter(b);
    bus_write(&b->ports, port, size, value);
    leave(b, v->lapic.id);
}

uint32_t board_pio_read(struct board_vcpu *v, uint16_t port, unsigned size)
{
    return nobody_there(v->board, port, size) ? (uint32_t)bus_ones(size) : device_read(v, port, size);
}

void board_pio_write(struct board_vcpu *v, uint16_t port, unsigned size, uint32_t value)
{
    if (!nobody_there(v->board, port, size))
        device_write(v, port, size, value);
}

uint64_t board_mmio_read(struct board_vcpu *v, struct gpa addr, unsigned size)
{
    struct lapic *l = &v->lapic;
    struct board *b = v->board;
    uint64_t value;

    if (lapic_owns(l, addr.v))
        return lapic_mmio_read(l, addr.v & (PAGE_SIZE - 1), size) & bus_ones(size);
    enter(b);
    value = bus_read(&b->memory, addr.v, size);
    leave(b, l->id);
    return value;
}

void board_mmio_write(struct board_vcpu *v, struct gpa addr, unsigned size, uint64_t value)
{
    struct lapic *l = &v->lapic;
    struct board *b = v->board;

    if (lapic_owns(l, addr.v)) {
        lapic_mmio_write(l, addr.v & (PAGE_SIZE - 1), size, value);
        return;
    }
    enter(b);
    bus_write(&b->memory, addr.v, size, value);
    leave(b, l->id);
}

int board_msr_read(struct board_vcpu *v, uint32_t msr, uint64_t *value)
{
    return lapic_msr_read(&v->lapic, msr, value);
}

int board_msr_write(struct board_vcpu *v, uint32_t msr, uint64_t value)
{
    return lapic_msr_write(&v->lapic, msr, value);
}

uint8_t board_tpr(struct board_vcpu *v)
{
    return (uint8_t)(lapic_tpr(&v->lapic) >> 4);
}

void board_set_tpr(struct board_vcpu *v, uint8_t tpr)
{
    lapic_set_tpr(&v->lapic, (uint8_t)((tpr & 15) << 4));
}

/* An interrupt of the 8259s for this vCPU? */
static bool extint_pending(const struct board_vcpu *v)
{
    return atomic_load(&v->board->intr) && lapic_takes_extint(&v->lapic);
}

bool board_pending(struct board_vcpu *v)
{
    return lapic_pending(&v->lapic) >= 0 || extint_pending(v);
}

const _Atomic bool *board_news(struct board_vcpu *v)
{
    return &v->lapic.news;
}

bool board_look(struct board_vcpu *v)
{
    atomic_exchange(&v->lapic.news, false);
    return board_pending(v);
}

/* The INTA cycles, unless another vCPU was faster. */
static int take_extint(struct board_vcpu *v)
{
    struct board *b = v->board;
    int vector = -1;

    enter(b);
    if (atomic_load(&b->intr))
        vector = pic_acknowledge(&b->pic);
    leave(b, v->lapic.id);
    return vector;
}

int board_take_interrupt(struct board_vcpu *v)
{
    int vector = -1;

    if (extint_pending(v))
        vector = take_extint(v);
    if (vector < 0 && !v->board->config.apicv)
        vector = lapic_take(&v->lapic);
    if (vector >= 0)
        v->board->interrupts++;
    return vector;
}

bool board_apicv_state(struct board_vcpu *v, struct apicv_state *out)
{
    if (!lapic_apicv_state(&v->lapic, out))
        return false;
    out->extint = extint_pending(v);
    return true;
}

void board_apic_written(struct board_vcpu *v, unsigned offset)
{
    lapic_page_written(&v->lapic, offset);
}

void board_apic_ended(struct board_vcpu *v, uint8_t vector)
{
    lapic_page_ended(&v->lapic, vector);
}

void board_lapic_reset(struct board_vcpu *v)
{
    lapic_reset(&v->lapic);
}

struct timer_queue *board_timers(struct board_vcpu *v)
{
    return &v->queue;
}

bool board_serial_in(struct board *b, uint8_t byte)
{
    bool taken;

    enter(b);
    taken = uart_receive(&b->com1, byte);
    leave(b, NOBODY);
    return taken;
}

bool board_serial_room(struct board *b)
{
    bool room;

    spin_lock(&b->lock);
    room = uart_room(&b->com1);
    spin_unlock(&b->lock);
    return room;
}

void board_power_button(struct board *b)
{
    enter(b);
    acpi_pm_power_button(&b->pm);
    leave(b, NOBODY);
}

void board_pulse(struct board *b, unsigned gsi)
{
    enter(b);
    ioapic_set_pin(&b->ioapic, gsi, true);
    ioapic_set_pin(&b->ioapic, gsi, false);
    leave(b, NOBODY);
}

void board_get_stats(struct board *b, struct board_stats *out)
{
    spin_lock(&b->lock);
    *out = (struct board_stats){
        .unowned_pio = b->ports.unowned, .unowned_mmio = b->memory.unowned,
        .uart_tx = b->com1.sent, .uart_rx = b->com1.received, .interrupts = b->interrupts,
    };
    spin_unlock(&b->lock);
}
